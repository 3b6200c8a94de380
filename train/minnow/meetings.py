"""Meetings, notes and short texts: summaries in an exact number of bullets, and action items with or without owner and date."""

import json

from conversation import A, C, U, maybe_system, think
from synth import records
from synth.words import CITIES, CODEWORDS, DAYS, DEPTS, FIRST, MONTHS, cap, full, join, name

PRODUCTS = ["phone app", "website", "lamp", "remote control", "coffee machine", "backpack", "newsletter", "search page", "camera", "e-bike", "online shop", "headset", "game", "dashboard", "tent", "printer", "toaster", "garden hose", "water bottle", "jacket", "vacuum cleaner", "smart watch", "desk", "speaker", "cookbook"]
PLACES = ["kitchen", "lobby", "parking lot", "warehouse", "meeting room", "library", "canteen", "gym", "server room", "showroom", "playground", "garden", "main hall", "workshop"]
OTHER_PLACES = ["town hall", "church", "school", "club house", "tent", "station", "market hall", "barn"]
CAUSES = ["a supplier was late", "two people are ill", "the tests are not finished", "the permit is missing", "the weather was bad", "the parts did not arrive", "the contract is not signed", "of a strike", "the budget is used up", "a machine broke"]
POINTS = [  # (what somebody says, the point of a summary)
    ("the new {p} sold {n} units last month, more than we expected", "The new {p} sold {n} units last month, more than expected."), ("sales of the {p} fell by {n} percent this quarter", "Sales of the {p} fell by {n} percent this quarter."), ("sales of the {p} rose by {n} percent, mostly in {c}", "Sales of the {p} rose by {n} percent, mostly in {c}."),
    ("the launch of the {p} moves to {d} because {w}", "The launch of the {p} moves to {d} because {w}."), ("we agreed to hire {s} more people for the {t} team", "The {t} team will hire {s} more people."), ("the budget for the {t} team is {n} thousand euros, and that is final", "The {t} team's budget is {n} thousand euros."),
    ("customers complain that the {p} is too slow", "Customers complain that the {p} is too slow."), ("we decided to use the supplier in {c} from now on", "The team will use the supplier in {c} from now on."), ("the office in {c} opens on {d}", "The office in {c} opens on {d}."), ("the {p} will cost {n} euros, not more", "The {p} will cost {n} euros."),
    ("the server was down for {s} hours on {d}", "The server was down for {s} hours on {d}."), ("we found a bug in the {p}, and it is fixed now", "A bug in the {p} was found and fixed."), ("the {t} team needs {s} more weeks for the report", "The {t} team needs {s} more weeks for the report."), ("the next meeting is on {d} at {h}", "The next meeting is on {d} at {h}."),
    ("the trade fair in {c} brought us {n} new contacts", "The trade fair in {c} brought {n} new contacts."), ("we will stop the old {p} at the end of the year", "The old {p} will be discontinued at the end of the year."), ("the customer in {c} has signed the contract", "The customer in {c} has signed the contract."), ("most people in the survey liked the design of the {p}", "Most people in the survey liked the design of the {p}."),
    ("from {d} on everybody may work from home two days a week", "From {d} on, everybody may work from home two days a week."), ("the {l} is closed until {d} because {w}", "The {l} is closed until {d} because {w}."), ("the {l} will be painted in {m}", "The {l} will be painted in {m}."), ("we got {n} applications for the job in the {t} team", "There were {n} applications for the job in the {t} team."),
    ("the delivery from {c} is late because {w}", "The delivery from {c} is late because {w}."), ("our costs went up by {n} percent since {m}", "Costs have gone up by {n} percent since {m}."), ("we saved {n} thousand euros on travel this year", "The team saved {n} thousand euros on travel this year."), ("the summer party is on {d} in the {l}", "The summer party is on {d} in the {l}."),
    ("{x} is leaving the company at the end of {m}", "{x} is leaving the company at the end of {m}."), ("{x} is the new head of the {t} team", "{x} is the new head of the {t} team."), ("the {p} won a prize at the fair in {c}", "The {p} won a prize at the fair in {c}."), ("{n} people have signed up for the workshop in {c}", "{n} people have signed up for the workshop in {c}."),
    ("we will not raise the price of the {p} this year", "The price of the {p} will not be raised this year."), ("the {p} will be made of recycled material from {m} on", "The {p} will be made of recycled material from {m} on."), ("the old printers will be replaced in {m}", "The old printers will be replaced in {m}."), ("the trial with the {p} failed because {w}", "The trial with the {p} failed because {w}."),
    ("the visit of the {t} team from {c} was cancelled", "The visit of the {t} team from {c} was cancelled."), ("the board has approved the plan for the {l}", "The board has approved the plan for the {l}."), ("we rejected the offer from {c} because it was too expensive", "The offer from {c} was rejected because it was too expensive."), ("the {p} is now available in {s} colours", "The {p} is now available in {s} colours."),
    ("the number of visitors went up to {n} thousand in {m}", "The number of visitors went up to {n} thousand in {m}."), ("there will be a fire drill on {d} at {h}", "There will be a fire drill on {d} at {h}."), ("the rent for the {l} rises by {n} percent", "The rent for the {l} rises by {n} percent."), ("the heating in the {l} has been repaired", "The heating in the {l} has been repaired."),
    ("the deadline for the {p} is {d}", "The deadline for the {p} is {d}."), ("nobody had time to test the {p} yet", "The {p} has not been tested yet."), ("the training for the {t} team starts on {d}", "The training for the {t} team starts on {d}."), ("we lost a big customer in {c} last week", "A big customer in {c} was lost last week."), ("the school trip goes to {c} in {m}", "The school trip goes to {c} in {m}."),
    ("the choir will sing in {c} on {d}", "The choir will sing in {c} on {d}."), ("{n} trees will be planted behind the {l}", "{n} trees will be planted behind the {l}."), ("we collected {n} euros for the animal shelter", "{n} euros were collected for the animal shelter."), ("the new menu starts on {d}", "The new menu starts on {d}."), ("the patients like the new waiting room", "The patients like the new waiting room."),
    ("the bridge on the way to {c} is closed until {m}", "The bridge on the way to {c} is closed until {m}."), ("the experiment gave the same result {s} times", "The experiment gave the same result {s} times."), ("the paper was accepted at the conference in {c}", "The paper was accepted at the conference in {c}."), ("our team won the match in {c} by {s} goals", "The team won the match in {c} by {s} goals."), ("the website had {n} thousand visitors in {m}", "The website had {n} thousand visitors in {m}."),
    ("two thirds of the users never open the {p}", "Two thirds of the users never open the {p}."), ("the backup of the {t} team failed again", "The backup of the {t} team failed again."), ("we are moving the data to a new server on {d}", "The data will be moved to a new server on {d}."), ("support answered {n} tickets this week", "Support answered {n} tickets this week."), ("the audit found no problems", "The audit found no problems."),
    ("we will test the {p} with {n} users in {m}", "The {p} will be tested with {n} users in {m}."), ("the lift in the {l} is broken again", "The lift in the {l} is broken again."), ("the exhibition in {c} was a great success", "The exhibition in {c} was a great success."), ("the insurance pays for the damage in the {l}", "The insurance pays for the damage in the {l}."), ("the {p} now works without the internet", "The {p} now works without the internet."),
    ("we ordered the {q} from {c}, and they will be here by {d}", "The team ordered the {q} from {c}."), ("we sold the {q} for {n} euros", "The team sold the {q} for {n} euros."), ("somebody took the {q}, so we will lock the {l} from now on", "Somebody took the {q}, so the {l} will be locked from now on."), ("{x} looks after the {q} now", "{x} looks after the {q} now."), ("we had to throw away the {q} because {w}", "The team threw away the {q} because {w}."),
    ("we got the {q} back after {s} weeks", "The team got the {q} back after {s} weeks."), ("the club will pay for the {q}, at most {n} euros", "The club will pay up to {n} euros for the {q}."), ("nobody could find the {q}, so the {l} stays shut on {d}", "Nobody could find the {q}, so the {l} stays shut on {d}."), ("we moved the {q} from the {l} to {c}", "The team moved the {q} from the {l} to {c}."), ("the fee goes up from {n} to {n2} euros in {m}", "The fee goes up from {n} to {n2} euros in {m}."),
    ("we have {n} members now, {s} more than in {m}", "There are {n} members now, {s} more than in {m}."), ("{x} ran the shop alone for {s} weeks and did well", "{x} ran the shop alone for {s} weeks."), ("we cannot use the {l} on {d}, so we meet in the {l2}", "The {l} cannot be used on {d}, so the meeting is in the {l2}."), ("the first {n} visitors get the {q} for free", "The first {n} visitors get the {q} for free."), ("the bus to {c} leaves at {h} from now on", "The bus to {c} leaves at {h} from now on."),
    ("we repaired the {q}, which cost {n} euros", "The team repaired the {q} for {n} euros."), ("the class in {c} is full, and {s} people are on the waiting list", "The class in {c} is full, with {s} people on the waiting list."), ("parking at the {l} costs {s} euros a day from {m} on", "Parking at the {l} costs {s} euros a day from {m} on."), ("the council gave us {n} euros for the {q}", "The council gave {n} euros for the {q}."), ("{x} found the {q} in the {l}", "{x} found the {q} in the {l}."),
]
DIALOGUES = [  # a point that takes several turns
    (["how many {p}s did we sell in {m}?", "exactly {n}"], "{n} {p}s were sold in {m}."), (["should we choose the red or the blue {p}?", "I prefer the blue one", "okay, then we take the blue one"], "The team chose the blue {p}."), (["can we launch on {d}?", "no, {w}", "then we wait until {m}"], "The launch waits until {m} because {w}."),
    (["who will lead the project in {c}?", "{x} will"], "{x} will lead the project in {c}."), (["I would say we meet on {d}", "{d} is bad for me, what about {e}?", "good, {e} then"], "The next meeting is on {e}."), (["what do the customers say about the {p}?", "most of them find it too expensive"], "Most customers find the {p} too expensive."),
    (["is the {l} ready?", "not yet, because {w}"], "The {l} is not ready yet because {w}."), (["how much did the trip to {c} cost?", "{n} euros"], "The trip to {c} cost {n} euros."), (["do we keep the old {p}?", "I think we should stop it", "agreed, we stop it"], "The old {p} will be stopped."), (["where will the party be?", "in the {l}, as last year"], "The party will be in the {l}."),
]
FILL = ["Good morning, everyone.", "Thanks for coming.", "Okay.", "I agree.", "That makes sense.", "Good point.", "Any questions about that?", "No, that is clear.", "Let's move on.", "Right.", "Great.", "Sounds good.", "Sorry, could you repeat that?", "Thank you all.", "Hello, can everyone hear me?", "Yes, loud and clear.", "Let's get started.",
        "Welcome back.", "Hm, interesting.", "I was late, the train did not come.", "Is there any coffee left?", "Let's go to the next point.", "That is good news.", "That is a pity.", "Fine with me.", "Does everybody agree?", "Yes.", "I have nothing to add.", "That's all from me.", "Shall we begin?", "Well, that was quick.", "I see.", "Thanks for the update."]
LEAD = ["{}."] * 6 + ["Just to let you know, {}.", "As you know, {}.", "First of all, {}.", "About the next topic: {}.", "One thing: {}.", "I can report that {}.", "The next point: {}.", "Good news: {}.", "Then, {}.", "Finally, {}.", "By the way, {}.", "From my side: {}.", "We talked about this before: {}.", "So, {}.", "Also, {}."]


def slots(r):
    d, e = r.sample(DAYS, 2)
    return dict(p=r.choice(PRODUCTS), n=r.choice([8, 12, 15, 18, 20, 25, 30, 40, 45, 60, 75, 90, 120, 250, 300]), d=r.choice([d, d, f"{r.randint(1, 28)} {r.choice(MONTHS)}"]), e=e, s=r.choice(["two", "three", "four", "five", "six"]), t=r.choice(DEPTS), c=r.choice(CITIES), h=f"{r.randint(8, 11)} am",
                m=r.choice(MONTHS), l=r.choice(PLACES), w=r.choice(CAUSES), x=full(r), q=r.choice(WHAT), n2=r.randint(301, 900), l2=r.choice(OTHER_PLACES))


def fact_point(r):
    """(sentence said, point of the summary)"""
    v = slots(r)
    a, b = r.choice(POINTS)
    return a.format(**v), cap(b.format(**v))


# ------------------------------------------------------------------ tasks

TASKS = ["send the report to {x}", "call the {t} team", "book a room for the workshop", "update the price list", "write the first draft of the plan", "test the new login page", "order {n} new chairs", "fix the broken link on the home page", "prepare the slides", "check the contract with {x}", "collect feedback from the {t} team", "train the new colleagues",
         "move the files to the new server", "review the budget", "plan the trip to {c}", "answer the letter from {x}", "print the posters", "clean up the old accounts", "measure the load of the server", "translate the guide", "get three offers", "write to the supplier in {c}", "repair the {p}", "invite the {t} team", "find a caterer", "renew the licence",
         "buy new batteries", "ask {x} about the invoice", "create the accounts for the interns", "water the plants in the {l}", "return the keys to {x}", "design the new logo", "take photos of the {p}", "publish the job ad", "compare the two offers", "call the landlord", "pay the bill for the {l}", "update the {p}", "write the minutes", "reserve a table for {s} people",
         "book the train to {c}", "upload the videos", "count the stock in the {l}", "send the samples to {c}", "check the alarm in the {l}", "cancel the order from {c}", "interview {x}", "set up the projector", "bring the cake", "draft the press release", "order the {p}s", "talk to the lawyer", "share the notes", "back up the database", "sign the lease", "proofread the newsletter",
         "sharpen the knives", "feed the fish in the {l}", "collect the parcels", "repaint the fence", "invite the speakers", "copy the keys of the {l}", "proofread the brochure", "rent a van", "pick up {x} at the airport", "record the podcast", "renew the insurance", "hang up the posters in the {l}",
         "sort the photos", "write to the mayor", "clean the windows of the {l}", "check the fire doors", "bake two cakes", "order the flowers", "wrap the presents", "look for a new supplier", "apply for the grant", "tune the piano", "mow the lawn", "reserve a table for {n}", "sign the lease", "phone the plumber",
         "pay the electrician", "test the microphones", "unpack the boxes", "count the votes", "deliver the {p} to {c}", "scan the receipts", "draw the map", "choose the music", "install the updates", "walk the dog of {x}", "replace the lamps in the {l}", "tell {x} about the delay", "talk to the neighbours"]
DOES = "check,order,pick up,look for,bring,return,buy,sort,collect,measure,count,describe,pack,label,inspect,paint,clean,move,hand over,ask about,read about,take care of,decide on,write about,pay for,look after,get rid of,hide,unload,repair,wash,weigh,mend,borrow,find,sell,replace,carry in,deliver,store,test".split(",")
WHAT = """banner,agenda,radio,ladder,tablecloths,tickets,wristbands,name badges,spare tyre,gas bottle,water tank,beehive,costumes,stage lights,raffle prizes,score sheets,trophies,lost property,first-aid kit,extension cords,trailer,canoe,paddles,hymn books,piano stool,curtains,carpet,sofa,dishwasher,fuse box,boiler,gutter,hedge,compost,seeds,seedlings,wheelbarrow,tarpaulin,tent pegs,sleeping bags,route,
visitor list,guest book,menu,wine,sandwiches,birthday card,certificates,exam papers,attendance list,permission slips,bus passes,microscope,samples,lab coats,freezer,pallets,forklift,invoices,tax forms,receipts,expense claims,pay slips,sales figures,survey,questionnaire,spreadsheet,mailing list,sign-up form,contact form,logo files,business cards,leaflets,shop window,price tags,cash register,gift cards,coupons,loyalty cards,
test data,release notes,login screen,error log,firewall rules,wifi password,domain name,certificate,monitor,keyboards,cables,projector,whiteboard,markers,flip chart,chairs,desk lamps,badge reader,fire extinguisher,emergency exit,parking spaces,bicycle racks,lockers,uniforms,helmets,safety vests,radios,map,timetable,sculpture,frames,catalogue,loan agreement,visa forms,passport copies,hotel list,taxi,suitcases,medicine,bandages,
wheelchair,patient files,dog food,cat litter,aquarium,saddle,hay,eggs,apples,flour,oven,recipes""".replace("\n", "").split(",")
RELAXED = ["no rush", "no hurry", "whenever there is time", "when possible", "not urgent", "no date yet"]  # said where there is no date
DATES = ["by {d}", "by {d}", "by {d}", "by {d}", "before {d}", "until {d}", "on {d}", "on {d}", "by the end of {m}", "by tomorrow", "next week", "by the end of the week", "by {k} {m}", "by {k} {m}", "by {m} {k}", "on {k} {m}", "before the launch", "this afternoon", "tomorrow", "today", "by noon", "by next {d}", "before the weekend", "in two weeks", "by the end of the month", "as soon as possible", "on {d} morning"]


def task_of(r, people, dated=0.65, owned=0.9):
    v = slots(r)
    when = r.choice(DATES).format(d=v["d"].split(" ")[0] if v["d"][0].isdigit() is False else v["e"], m=v["m"], k=r.randint(1, 28)) if r.random() < dated else None
    what = r.choice(TASKS).format(**v) if r.random() < 0.55 else f"{r.choice(DOES)} the {r.choice(WHAT)}"
    return (r.choice(people) if r.random() < owned else None, what, when)


def does(task):
    """The task as something that a person does: "send the report" -> "sends the report"."""
    verb, _, rest = task.partition(" ")
    verb = verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else verb + "s"
    return f"{verb} {rest}"


def item(t):
    """One line of the answer."""
    who, what, when = t
    return f"- {who or 'No owner'}: {what} ({when or 'no date'})"


def task_lines(r, t, people):
    """The turns in which a task comes up."""
    who, what, when = t
    w = f" {when}" if when else ""
    if who is None:
        return [(r.choice(people), r.choice([f"somebody has to {what}{w}.", f"we still need to {what}{w}.", f"one of us should {what}{w}.", f"we must not forget to {what}{w}."]))]
    if r.random() < 0.5:
        return [(who, r.choice([f"I will {what}{w}.", f"I'll {what}{w}.", f"I can {what}{w}.", f"let me {what}{w}.", f"I promise to {what}{w}.", f"okay, I am going to {what}{w}.", f"it is my job to {what}{w}."]))]
    boss = r.choice([p for p in people if p != who])
    return [(boss, r.choice([f"{who}, could you {what}{w}?", f"{who}, please {what}{w}.", f"can you {what}{w}, {who}?", f"{who}, will you {what}{w}?", f"I would like {who} to {what}{w}.", f"who can {what}{w}?"])), (who, r.choice(["yes, I will.", "sure.", "okay.", "no problem.", "I will do it.", "yes.", "of course."]))]


STYLES = ["{p}: {t}"] * 6 + ["[{h}:{m:02}] {p}: {t}", "[{h}:{m:02}] {p}: {t}", "{p} ({h}:{m:02}): {t}", "{p} ({role}): {t}", "**{p}**: {t}", "{p} - {t}", "- {p}: {t}", '{p} said: "{t}"', "{h}:{m:02} {p}: {t}"]


def discussion(r, n_points, n_tasks, dated=0.65, owned=0.9, chatter=0.3):
    """(text, points in order, tasks in order) of a meeting."""
    people = r.sample(FIRST, r.randint(2, 5))
    order = ["p"] * n_points + ["t"] * n_tasks
    r.shuffle(order)
    lines, points, tasks = [], [], []
    talk = lambda p: lines.extend((r.choice(people), r.choice(FILL)) for _ in range(2) if r.random() < p)
    if r.random() < 0.5:
        lines.append((people[0], r.choice(FILL[:2] + FILL[14:18])))
    for k in order:
        talk(chatter)
        if k == "p" and r.random() < 0.2:
            v, (say, point) = slots(r), r.choice(DIALOGUES)
            a, b = r.sample(people, 2)
            lines += [((a, b)[i % 2], x.format(**v) + ("" if x[-1] in "?" else ".")) for i, x in enumerate(say)]
            points.append(cap(point.format(**v)))
        elif k == "p":
            a, b = fact_point(r)
            lines.append((r.choice(people), r.choice(LEAD).format(a)))
            points.append(b)
        else:
            t = task_of(r, people, dated, owned)
            while any(t[1] == x[1] for x in tasks):
                t = task_of(r, people, dated, owned)
            lines += task_lines(r, t, people)
            tasks.append(t)
            points.append(f"{t[0]} will {t[1]}{' ' + t[2] if t[2] else ''}." if t[0] else f"Somebody has to {t[1]}{' ' + t[2] if t[2] else ''}.")
    talk(0.3)
    style, roles, minute = r.choice(STYLES), dict(zip(people, r.sample(["chair", "sales", "design", "finance", "support", "guest", "manager"], 5))), r.randint(0, 20)
    text = "\n".join(style.format(p=p, t=cap(t), role=roles[p], h=10, m=min(59, minute + 2 * i)) for i, (p, t) in enumerate(lines))
    if r.random() < 0.12:
        text = text.lower()
    return text, points, tasks


NUM = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


def with_text(r, ask, text, kind):
    return r.choice([f"{ask}\n\n{text}", f"{ask}\n\n{kind}:\n{text}", f"{ask}\n{text}", f"{text}\n\n{ask}", f'{ask}\n\n"""\n{text}\n"""', f"Here is the {kind.lower()}:\n\n{text}\n\n{ask}", f"{ask}\n\n---\n{text}\n---", f"{kind}:\n{text}\n\n{ask}", f"{ask} {text}"])


def chosen(r, points, n):
    """n of the points, in their order."""
    return [points[i] for i in sorted(r.sample(range(len(points)), n))]


ASK_BULLETS = ["Summarize the attached meeting transcript in {k} bullet points.", "Summarize the attached meeting transcript in {k} bullet points.", "Summarize this meeting in {k} bullet points.", "Give me {k} bullet points that summarize the meeting.", "Please summarise the transcript in {k} bullets.", "What are the {k} main points of this meeting? Use bullet points.",
               "tldr in {k} bullets pls", "{k} bullets please, what was said?", "Can you condense our chat to {k} bullet points?", "bullet summary of this call, {k} points", "Only {k} bullet points: what happened here?", "The {k} most important things of this meeting as bullet points and nothing more.", "sum this up for me in {k} bullets", "What did we talk about? {k} bullets.",
               "Write exactly {k} bullet points about this meeting.", "Sum up the discussion in {k} bullet points.", "Summarize in {k} bullet points:", "I missed this meeting. Give me the {k} most important points as bullets.", "Turn this transcript into {k} bullet points."]
ASK_TEXT = ["Summarize this text in {k} bullet points.", "{k} bullets about this, please.", "Put this into {k} bullet points.", "make {k} bullet points out of this", "Reduce this to {k} bullet points:", "Summarize the following text in {k} bullets.", "Give me the main points as {k} bullet points.", "Write {k} bullet points about the text below.", "Shorten this to {k} bullet points:", "What are the {k} key points of this text? Answer with bullets."]


def bullets(r):
    """A summary in exactly n bullet points."""
    n = r.choice([2, 3, 3, 3, 3, 3, 4, 4, 5])
    k = r.choice([str(n), NUM[n]])
    more = r.choice([0, 0, 0, 1, 1, 2, 3])
    if r.random() < 0.72:
        n_tasks = r.choice([0, 0, 1, 1, 2])
        text, points, _ = discussion(r, max(0, n + more - n_tasks), min(n_tasks, n + more), owned=1.0)
        user = with_text(r, r.choice(ASK_BULLETS).format(k=k), text, r.choice(["Transcript", "Meeting transcript", "Meeting", "Protocol"]))
    else:
        pairs = [fact_point(r) for _ in range(n + more)]
        points = [b for _, b in pairs]
        said = [cap(a) + "." for a, _ in pairs]
        text = " ".join(said) if r.random() < 0.7 else "\n".join(said)
        if r.random() < 0.4:
            text = r.choice(["Dear colleagues, ", "Hello all, ", "News of the week. ", "Hi team, ", "Dear members, "]) + text + r.choice(["", " Best regards, " + name(r), " Thank you!"])
        user = with_text(r, r.choice(ASK_TEXT).format(k=k), text, r.choice(["Text", "Email", "Message", "Article"]))
    c = C(maybe_system(r, 0.5) + [U(user), A("\n".join("- " + p for p in chosen(r, points, n)))])
    return think(c, r.choice([f"I list the main points in {NUM[n]} bullets, in the order of the text.", f"The answer needs exactly {NUM[n]} bullet points."]), r, 0.1)


def sentence(r):
    """A summary in one or two sentences."""
    n = r.choice([1, 2])
    text, points, _ = discussion(r, n, 0) if r.random() < 0.5 else (lambda p: (" ".join(cap(a) + "." for a, _ in p), [b for _, b in p], []))([fact_point(r) for _ in range(n)])
    ask = r.choice(["Summarize this in {k} sentence{s}.", "Give a summary of {k} sentence{s}.", "What is this about? Answer in {k} sentence{s}.", "Sum this up in {k} sentence{s}:"]).format(k=NUM[n], s="s" if n > 1 else "")
    return C(maybe_system(r, 0.3) + [U(with_text(r, ask, text, "Text")), A(" ".join(points))])


ASK_ACTIONS = ["Extract action items from the following notes:", "Extract action items from the following notes.", "Extract the action items from these notes.", "List the action items in these notes.", "What are the action items in the following notes?", "Give me the action items.", "Which tasks come out of this?", "Make a to-do list from this text.",
               "List all tasks with owner and date.", "tasks from my notes pls", "what do we have to do? list it", "todo list please", "Find the tasks in this text and list them with owner and deadline.", "Who does what until when?", "Who has to do what, and by when?", "Pull the action items out of this."]
NOTE = ["{w} will {t}{d}", "{w} will {t}{d}", "{w} to {t}{d}", "{w} has to {t}{d}", "{w}: {t}{d}", "ask {w} to {t}{d}", "{w} needs to {t}{d}", "{w} should {t}{d}", "{w} promised to {t}{d}", "{w} is going to {t}{d}", "TODO {w}: {t}{d}", "{w} must {t}{d}", "{w} agreed to {t}{d}", "{w} {does}{d}", "{w} {does}{d}", "{w} will take over: {t}{d}", "{w} said that the team can count on it: {t}{d}",
        "it is {w}'s job to {t}{d}", "{w} offered to {t}{d}", "{w} volunteered to {t}{d}", "@{w} {t}{d}", "{t}{d} ({w})", "{t} - {w}{dash}", "{t}{d}: {w}", "[{w}] {t}{d}", "waiting for {w} to {t}{d}", "we decided that {w} will {t}{d}", "{w} is responsible for this: {t}{d}", "next step for {w}: {t}{d}", "{w} wants to {t}{d}", "please remind {w} to {t}{d}"]
OPEN = ["somebody has to {t}{d}", "we still need to {t}{d}", "TODO: {t}{d}", "open: {t}{d}", "{t}{d} (who?)", "nobody has said yet who will {t}{d}"]
NO_TASKS = ["{w} is on holiday until {d}", "{w} was ill last week", "{w} liked the idea", "{w} thanked everybody", "{w} joined the team in {m}", "nobody liked the new {p}", "the coffee was good", "it rained all day", "{w} has already finished the {what}", "the {what} arrived on {d}", "{w} sent the {what} last week", "the {what} is fine", "the {l} was too cold", "{w} was happy with the {p}", "we talked about the {what} for an hour", "the last meeting was in {m}",
            "{w} told us about a trip to {c}", "the {p} had {n} visitors", "the new {what} looks good", "{w} and the {t} team had a good week", "the next meeting is on {d}"]


def no_task(r, people):
    """A sentence of notes, often with a name or a day, from which nothing follows."""
    return fact_point(r)[0] if r.random() < 0.4 else r.choice(NO_TASKS).format(w=r.choice(people), what=r.choice(WHAT), **{k: v for k, v in slots(r).items() if k not in "wq"})


def note(r, t, form=None):
    """One task as notes say it."""
    who, what, when = t
    when = when or (r.choice(RELAXED) if r.random() < 0.2 else "")
    relaxed = when in RELAXED
    d = (", " if relaxed else " ") + when if when else ""
    if who and when and not relaxed and form is None and r.random() < 0.12:
        return f"{when} {who} {r.choice(['will', 'should', 'has to'])} {what}"
    form = (form or r.choice(NOTE)) if who else r.choice(OPEN)
    return form.format(w=who, t=what, does=does(what), d=d, dash=f" - {when}" if when else "")


def actions(r):
    """Action items; what has no owner or no date is said to have none."""
    dated, owned = r.choice([1.0, 1.0, 0.6, 0.6, 0.3, 0.0]), r.choice([1.0, 1.0, 1.0, 0.75])
    if r.random() < 0.5:
        people = r.sample(FIRST, r.randint(2, 5))
        ts = []
        for _ in range(r.randint(1, 5)):
            t = task_of(r, people, dated, owned)
            if all(t[1] != x[1] for x in ts):
                ts.append(t)
        one = r.choice(NOTE) if r.random() < 0.3 else None
        say = [note(r, t, one) for t in ts]
        rows = [(i, x if x[0] in "@[" else cap(x)) for i, x in enumerate(say)] + [(r.uniform(-1, len(say)), cap(no_task(r, people))) for _ in range(r.choice([0, 0, 1, 2, 2, 3]))]
        rows = [x for _, x in sorted(rows, key=lambda z: z[0])]
        text = r.choice([". ".join(rows) + ".", ". ".join(rows) + ".", "\n".join("- " + x for x in rows), "\n".join(rows), "\n".join(f"{i}. {x}" for i, x in enumerate(rows, 1)), "; ".join(rows) + "."])
        text = r.choice(["", "", f"Met with the {r.choice(DEPTS)} team on {r.choice(DAYS)}. ", "Meeting notes. ", "Call with the customer. "]) + text
        if r.random() < 0.25:
            text = text.lower()
        user = with_text(r, r.choice(ASK_ACTIONS), text, "Notes")
    else:
        text, _, ts = discussion(r, r.randint(0, 3), r.randint(1, 4), dated, owned)
        user = with_text(r, r.choice(["List the action items.", "Extract all action items from this meeting.", "What are the action items? Give owner, task and due day.", "List the action items of this meeting.", *ASK_ACTIONS]), text, "Transcript")
    if r.random() < 0.12:
        a, user = json.dumps([{"owner": w, "task": t, "due": d} for w, t, d in ts]), user + "\nAnswer as a JSON array with the keys owner, task and due."
    else:
        a = "\n".join(item(t) for t in ts)
    c = C(maybe_system(r, 0.35) + [U(user), A(a)])
    if len(ts) > 1 and r.random() < 0.2 and ts[0][0]:
        w = ts[0][0]
        mine = [t + (f" {d}" if d else "") for o, t, d in ts if o == w]
        c["m"] += [U(f"What does {w} have to do?"), A(f"{w} has to {join(mine)}.")]
        return c
    return think(c, "I look for who does what and by when. " + " ".join(f"{w or 'No owner'}: {t}, {d or 'no date'}." for w, t, d in ts), r, 0.1)


def nothing_to_do(r):
    """A meeting without any action item."""
    text, _, _ = discussion(r, r.randint(1, 3), 0)
    return C(maybe_system(r, 0.3) + [U(with_text(r, r.choice(ASK_ACTIONS), text, "Transcript")), A("There are no action items in this text.")])


def meeting_question(r):
    """A question about what was said."""
    text, points, ts = discussion(r, r.randint(1, 3), r.randint(1, 3), owned=1.0)
    w, t, d = r.choice(ts)
    q, a = r.choice([(f"Who will {t}?", f"{w} will {t}."), (f"By when will {w} {t}?" if d else f"When will {w} {t}?", f"{cap(d)}." if d else "No date was given."), (f"What will {w} do?", f"{w} will " + join([x for o, x, _ in ts if o == w]) + ".")])
    return C(maybe_system(r, 0.3) + [U(with_text(r, q, text, "Transcript")), A(a)])


def actions_mix(r):
    return r.choice([actions] * 7 + [nothing_to_do, meeting_question, records.action_items])(r)


def bullets_mix(r):
    return r.choice([bullets] * 8 + [sentence, sentence])(r)
