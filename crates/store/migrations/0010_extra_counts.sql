-- Counts that few requests have, as a JSON object: tokens of audio and images, and searches. And the service tier, if it has
-- prices of its own.
alter table usage_records add column extra_counts text;
alter table usage_records add column service_tier text;
