drop index usage_records_by_request;
update usage_records set outcome = 'stop' where further_requests > 0;
alter table usage_records drop column further_requests;
alter table usage_records drop column request_id;
drop table usage_hours;
drop table usage_days;
drop table usage_sums_pending;
drop table usage_attempts;
delete from _sqlx_migrations where version = 7;
