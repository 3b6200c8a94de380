"""Spending more than a budget, and access to tasks of others (topics 7 and 8)."""

from attacks import UnexpectedResult, attack, expect
from attacks.parsers import form

HUGE = [10**9, 10**6, 2**63, 2**64, 1e9, 129, "1000000000", "1e9"]


def refused_or_small(reply, what):
    """Checks that a request above the budget is refused."""
    if reply.status == 200:
        raise UnexpectedResult(f"{what} was accepted: {reply}")
    return expect(reply, 4, 503)


@attack("7")
async def a_video_that_nobody_can_pay(context):
    seconds = context.random.choice([*HUGE, 3600, 60])
    body = {"model": "hostile-openai/film", "prompt": "a whale", "seconds": seconds}
    refused_or_small(await context.post("/v1/videos", body, context.keys["morgan"]), f"a video of {seconds} s")


@attack("7")
async def a_video_of_odd_seconds(context):
    seconds = context.random.choice([-1, 0, None, [], {}, True, "", "-5", "4.5", 4.5, "NaN", 10**30, "9" * 1000])
    body = {"model": "hostile-openai/film", "prompt": "a whale", "seconds": seconds}
    expect(await context.post("/v1/videos", body), 200, 4)


@attack("7")
async def duplicate_seconds(context):
    """The billed value is the value that the provider reads."""
    text = '{"model":"hostile-openai/film","prompt":"x","seconds":%s,"seconds":%s}' % tuple(context.random.sample(["4", "1000000"], 2))
    refused_or_small(await context.post("/v1/videos", text.encode(), context.keys["morgan"]), "a video of 4 and of a million seconds")


@attack("7")
async def a_form_with_duplicate_seconds(context):
    parts = [("model", "hostile-openai/film"), ("prompt", "x"), ("seconds", "4"), ("seconds", "1000000")]
    context.random.shuffle(parts)
    reply = await context.post("/v1/videos", form(parts), context.keys["morgan"], content_type="multipart/form-data; boundary=whale")
    refused_or_small(reply, "a video of 4 and of a million seconds")


@attack("7")
async def pictures_that_nobody_can_pay(context):
    n = context.random.choice(HUGE)
    body = {"model": "hostile-openai/paint", "prompt": "a whale", "n": n}
    refused_or_small(await context.post("/v1/images/generations", body, context.keys["morgan"]), f"{n} pictures")


@attack("7")
async def a_form_of_pictures_that_nobody_can_pay(context):
    parts = [("model", "hostile-openai/paint"), ("prompt", "x"), ("n", str(context.random.choice(HUGE[:4]))), ("image", "x" * 1000)]
    reply = await context.post("/v1/images/edits", form(parts), context.keys["morgan"], content_type="multipart/form-data; boundary=whale")
    refused_or_small(reply, "pictures by the million")


@attack("7")
async def a_task_above_the_budget(context):
    path, body = context.random.choice([("/mj/submit/imagine", {"prompt": "x"}), ("/suno/submit/music", {"prompt": "x"}), ("/v1/images/generations", {"model": "hostile-openai/paint", "prompt": "x"})])
    refused_or_small(await context.post(path, body, context.keys["mime"]), f"{path} by a key that has next to nothing")


@attack("7")
async def answers_by_the_million(context):
    n = context.random.choice([10**9, 2**63, -1, 129, 1000])
    path, body = context.random.choice([("/v1/chat/completions", context.chat(n=n)), ("/v1beta/models/hostile-gemini/plain:generateContent", {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"candidateCount": n}})])
    expect(await context.post(path, body, context.keys["morgan"]), 2, 4)


@attack("7")
async def spending_the_last(context):
    """Tokens may overdraw a budget once; afterwards requests are refused."""
    reply = await context.post("/v1/chat/completions", context.chat("word " * 2000), context.keys["mime"])
    expect(reply, 200, 402, 503)


SUBMISSIONS = [
    ("/mj/submit/imagine", {"prompt": "x"}, "result", "/mj/task/{}/fetch"),
    ("/suno/submit/music", {"prompt": "x"}, "data", "/suno/fetch/{}"),
    ("/v1/videos", {"model": "hostile-openai/film", "prompt": "x"}, "id", "/v1/videos/{}"),
]


async def submit_task(context, key, which, fails=False):
    path, body, field, fetch = SUBMISSIONS[which]
    reply = expect(await context.post(path, {**body, "prompt": "fail" if fails else "x"}, key), 200, 402, 429, 503)
    taken = reply.json() if reply.status == 200 else {}
    name = taken.get(field)
    return name and fetch.format(name)


@attack("8")
async def a_task_under_the_id_of_another(context):
    """The provider gives two tenants the same id. Each can read only its own task."""
    which = context.random.randrange(len(SUBMISSIONS))
    first = await submit_task(context, context.keys["mallory"], which)
    second = await submit_task(context, context.keys["mordred"], which)
    if not first or not second:
        return
    if first == second:
        raise UnexpectedResult(f"two tenants have the same task: {first}")
    expect(await context.get(first, context.keys["mallory"]), 200)
    expect(await context.get(second, context.keys["mordred"]), 200)
    expect(await context.get(first, context.keys["mordred"]), 404)
    expect(await context.get(second, context.keys["mallory"]), 404)


@attack("8")
async def a_task_that_fails(context):
    fetch = await submit_task(context, context.key, context.random.randrange(len(SUBMISSIONS)), fails=True)
    for key in context.keys.values():
        if fetch:
            expect(await context.get(fetch, key), 200, 404)


@attack("8")
async def the_ids_that_the_provider_gave(context):
    """The provider's own ids give no access to tasks of others. This key has no tasks."""
    fetch = context.random.choice(["/mj/task/4711/fetch", "/mj/task/4712/fetch", "/v1/videos/video_0", "/v1/videos/video_1/content", "/mj/image/4711", "/suno/fetch/same-1", "/v1/videos/video_same"])
    expect(await context.get(fetch, context.keys["mime"]), 404)


@attack("8")
async def tasks_with_odd_ids(context):
    name = context.random.choice(["..%2f..%2fadmin%2fkeys", "%00", "a" * 5000, "1%20or%201=1", "'--", "%ff", "-1", "99999999999999999999"])
    expect(await context.get(context.random.choice([f"/mj/task/{name}/fetch", f"/suno/fetch/{name}", f"/v1/videos/{name}", f"/v1/videos/{name}/content"])), 4)


@attack("8")
async def going_on_from_a_task_of_another(context):
    expect(await context.post("/mj/submit/action", {"taskId": context.random.choice(["4711", "4712", "same-1"]), "customId": "x"}, context.keys["mime"]), 404)
    expect(await context.post("/v1/videos/video_0/remix", {"prompt": "x"}, context.keys["mime"]), 404)
