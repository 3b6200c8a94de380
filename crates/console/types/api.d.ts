// Made from GET /admin/openapi.json: UPDATE_API_TYPES=1 cargo test -p server --test http api_types

export type Error = { error?: { message?: string; type?: string; param?: string | null; code?: string } };

/** US dollars with up to nine decimals; text is exact. */
export type Dollars = string | number | null;

export type Role = "member" | "viewer" | "admin";

export type NewUser = { name: string; role: Role };

export type UserChange = { role?: Role; disabled?: boolean; budget?: Dollars; budgets?: Budgets };

/** The token of the printed link. An admin needs none: whoever is on the machine of a server without keys and accounts, or has the admin token. */
export type Setup = { token?: string; name: string; password: Password };

export type Password = string;

/** Either `name` and `password`, or `key`: the API key of a user, or the admin token. */
export type SignIn = { name?: string; password?: string; key?: string };

export type SignUp = { token?: string; name: string; password: Password };

export type NewPassword = { token: string; password: Password };

export type PasswordChange = { old: string; new: Password };

export type NewInvitation = { name?: string; role: Role; project: string; budget?: Dollars; days: number };

export type Members = { users: string[] };

export type NewProject = { name: string; budget?: Dollars; budgets?: Budgets };

export type ProjectChange = { budget?: Dollars; budgets?: Budgets };

/** The budgets with a period. The list replaces the present one; what is spent stays. */
export type Budgets = ({ every?: "day" | "week" | "month"; time_zone?: string; amount?: Dollars; warn_at?: Dollars; end_user?: string; each_end_user?: boolean })[];

/** The limits of a key. Null: unlimited. */
export type Limits = { models?: string[] | null; networks?: string[] | null; budget?: Dollars; budgets?: Budgets; requests_per_minute?: number | null; tokens_per_minute?: number | null; concurrency?: number | null; expires_at?: number | null };

export type NewKey = Limits & { name: string; project?: string; user?: string };

/** As a [[providers]] block of the configuration file. The key itself stays in an environment variable of the server. */
export type Provider = { row?: string; base_url?: string; dialect?: "openai" | "deepseek" | "responses" | "anthropic" | "gemini" | "bedrock" | "midjourney" | "suno"; service?: "azure" | "vertex" | "bedrock"; api_version?: string; region?: string; access_key_env?: string; session_token_env?: string; key_env?: string; private?: boolean; models?: string[]; rename?: Record<string, string>; metrics?: string; timeout_s?: number; set?: Record<string, unknown>; drop?: string[]; headers?: Record<string, string>; query?: Record<string, string>; priority?: number; weight?: number };

/** The model id that it stands for. */
export type Alias = string;

/** As a [[price]] row of a price file: US dollars per million tokens, per call, per second of video. */
export type Price = { source: string; date: string; context?: number; max_output?: number; batch?: number; input?: number; cached?: number; cache_write?: number; cache_write_1h?: number; output?: number; reasoning?: number; audio_input?: number; image_input?: number; audio_output?: number; image_output?: number; per_search?: number; per_call?: number; per_second?: number; period?: Record<string, unknown>[]; above?: Record<string, unknown>[]; service?: Record<string, unknown>[] };

/** How requests ended. `answered`: with an answer. `cancelled`: the caller left. `invalid`: the provider refused the request. `refused`: no budget (402), no right (403), an unknown model (404) or too large (413). `rate_limited`: 429. `failed`: every other error. `refunded`: the refund of a failed task, which counts as no request. */
export type OutcomeClass = "answered" | "cancelled" | "invalid" | "refused" | "rate_limited" | "failed" | "refunded";

/** Milliseconds, estimated from 24 buckets. Null: no request has such a time. */
export type Percentiles = { p50: number | null; p95: number | null; p99: number | null };

/** A value for each time. Null: no request of that step has such a time. */
export type PercentileColumns = { p50: (number | null)[]; p95: (number | null)[]; p99: (number | null)[] };

/** The sums over all times. `failures` are the requests of the class `failed`, `refusals` those of the classes `invalid`, `refused` and `rate_limited`. */
export type SeriesTotal = { requests: number; failures: number; refusals: number; prompt_tokens: number; cached_tokens: number; completion_tokens: number; reasoning_tokens: number; cost: string; ttft_ms: Percentiles; total_ms: Percentiles };

/** A number for each time; 0 where there are no requests. `cost` is in US dollars. */
export type SeriesColumns = { requests: number[]; failures: number[]; refusals: number[]; prompt_tokens: number[]; cached_tokens: number[]; completion_tokens: number[]; reasoning_tokens: number[]; cost: number[]; total: SeriesTotal };

export type SeriesGroup = SeriesColumns & { of: string | null };

/** `from` and `to` are those of the request, extended to whole steps (UTC); `times` are the beginnings of the steps. All in seconds since 1970. `groups` are empty without `by`, else in order of their cost. */
export type Series = { from: number; to: number; step: "minute" | "hour" | "day"; by: "key" | "project" | "model" | "provider" | "outcome" | null; times: number[]; all: SeriesColumns; ttft_ms: PercentileColumns; total_ms: PercentileColumns; groups: SeriesGroup[] };

/** The usage and the cost of one request. `request_id` is the id that its caller got. `requests` is more than 1 where one record stands for several refused requests, and 0 for a refund. `cost` is in US dollars, exact; `at` in seconds since 1970. */
export type UsageRecord = { id: string; request_id: string; at: number; at_ms: number; key: string; project: string | null; model: string; provider: string; requests: number; prompt_tokens: number; cached_tokens: number; cache_write_tokens: number; cache_write_1h_tokens: number; completion_tokens: number; reasoning_tokens: number; extra_counts?: Record<string, number>; service_tier?: string; estimated: boolean; cost: string; price: string; first_token_us: number | null; total_us: number; outcome: string; outcome_class: OutcomeClass };

/** Records, the newest first. `next` is the cursor of the older ones; null at the end. */
export type RecordPage = { data: UsageRecord[]; next: string | null };

/** One request to a provider. Times are microseconds since the beginning of the caller's request. `status` is 200 for an answer, else the status that callers get for the failure, or null. `fault` says why it was not the answer. */
export type Attempt = { number: number; provider: string; model: string; started_us: number; first_byte_us: number | null; ended_us: number | null; status: number | null; fault: string | null };

/** One part of a cost: `quantity` at `price` US dollars for `per` of them. The lines add up to the cost of the record. */
export type CostLine = { of: "prompt_tokens" | "cached_tokens" | "cache_write_tokens" | "cache_write_1h_tokens" | "completion_tokens" | "reasoning_tokens" | "audio_prompt_tokens" | "image_prompt_tokens" | "audio_completion_tokens" | "image_completion_tokens" | "searches" | "calls" | "seconds" | "rounding"; quantity: number; price: string; per: number; cost: string };

export type RecordDetail = UsageRecord & { attempts: Attempt[]; cost_lines: CostLine[] | null };

/** A number for each hour. `failures` are attempts that failed, also those after which another provider answered. `retry_at` is in seconds since 1970. */
export type ProviderHealth = { provider: string; state: "ok" | "degraded" | "cooling_down"; last_error: string | null; retry_at: number | null; requests: number[]; failures: number[]; ttft_p50_ms: (number | null)[] };

/** `times` are the beginnings of the hours, in seconds since 1970; the last one is not over. */
export type Health = { hours: number; times: number[]; providers: ProviderHealth[] };

/** The result of a test of a provider. */
export type ProviderTest = { name: string; reached: boolean; tls: boolean | null; key_good: boolean | null; models: string[] | null; milliseconds: number; error: string | null };

/** The engine of the local model. Null: there is none. */
export type Engine = { model: string; model_type: string; attention: "sparse" | "dense"; compute: "f32" | "bf16"; kernels: string; threads: number; context: number; ready: boolean; running: number; max_running: number; waiting: number; queue: number; prompt_tokens_per_second: number; generated_tokens_per_second: number; prompt_tokens: number; cached_prompt_tokens: number; cache: { tokens: number; used_tokens: number; cached_tokens: number }; memory: { weights: number; cache: number; total: number; available: number } } | null;

/** The data of an event `start` of `GET /admin/tail`: a provider is about to receive a request. That of an event `end` is a `UsageRecord`. */
export type TailStart = { id: string; request_id: string; at: number; at_ms: number; key: string; project: string | null; model: string; provider: string };

/** The data of an event `skipped` of `GET /admin/tail`: events that were left out since the last one. */
export type TailSkipped = { skipped: number };

/** A setting in force. */
export type Setting = { value: unknown; from: "default" | "file" | "store" | "environment" | "command line"; at_start: boolean; next?: unknown };

/** The configuration in force, by the sections of the file. */
export type Config = { file: { path: string; read_at: number } | null; server: ConfigSection; engine: ConfigSection; cache: ConfigSection; compat: ConfigSection; store: ConfigSection; gateway: ConfigSection; telemetry: ConfigSection; console: ConfigSection; providers: ConfigSection; aliases: ConfigSection };

export type ConfigSection = Record<string, Setting>;

/** The paths of the admin API, and their methods. */
export type Routes = {
  "/admin/setup": "post";
  "/admin/session": "post" | "delete";
  "/admin/signup": "post";
  "/admin/password": "post";
  "/admin/me": "get";
  "/admin/me/password": "post";
  "/admin/sessions": "get";
  "/admin/sessions/{id}": "delete";
  "/admin/invitations": "post";
  "/admin/openapi.json": "get";
  "/admin/users": "get" | "post";
  "/admin/users/{name}": "patch";
  "/admin/users/{name}/link": "post";
  "/admin/projects": "get" | "post";
  "/admin/projects/{name}": "patch";
  "/admin/projects/{name}/members": "put";
  "/admin/keys": "get" | "post";
  "/admin/keys/{id}": "patch" | "delete";
  "/admin/keys/{id}/end-users": "get";
  "/admin/usage": "get";
  "/admin/series": "get";
  "/admin/records": "get";
  "/admin/records/{id}": "get";
  "/admin/health": "get";
  "/admin/models": "get";
  "/admin/tail": "get";
  "/admin/engine": "get";
  "/admin/config": "get";
  "/admin/reload": "post";
  "/admin/providers": "get";
  "/admin/providers/{name}": "put" | "delete";
  "/admin/providers/{name}/test": "post";
  "/admin/aliases": "get";
  "/admin/aliases/{name}": "put" | "delete";
  "/admin/prices": "get";
  "/admin/prices/{name}": "put" | "delete";
};
