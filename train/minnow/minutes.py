"""Meetings of which each matter takes a sentence of minutes or several turns of talk, and one bullet of the summary. Two facts of one matter stay in one bullet."""

from conversation import A, C, U, maybe_system, think
from meetings import NUM, chosen, slots, with_text
from synth.words import DAYS, FIRST, LAST, MONTHS, cap

MATTERS = [  # (minutes, turns of two speakers, bullet)
    ("{x} showed the plans of the {l}, and everybody liked them.", ["did you see the plans of the {l}?", "yes, and everybody liked them"], "Everybody liked the plans of the {l}."),
    ("Visitors find the {l} too dark, so {s} lamps will be bought.", ["visitors find the {l} too dark", "then we buy {s} lamps"], "{S} lamps will be bought because the {l} is too dark."),
    ("The meeting with the bank had to be put off to {d}, as {x} missed the train.", ["why was there no meeting with the bank?", "{x} missed the train, so it is on {d} now"], "The meeting with the bank is now on {d}."),
    ("The website of the {t} team was visited {n} thousand times, mostly from {c}.", ["how many visits did the {t} page get?", "{n} thousand, mostly from {c}"], "The page of the {t} team had {n} thousand visits, mostly from {c}."),
    ("Every colleague gets a new laptop bag, which costs {n} euros.", ["what do the new bags cost?", "{n} euros, one for everybody"], "Everybody gets a new bag for {n} euros."),
    ("The concert of {x} was sold out within {s} hours.", ["are there tickets for the concert of {x}?", "no, sold out within {s} hours"], "The concert of {x} was sold out within {s} hours."),
    ("The bees behind the {l} gave {n} kilos of honey.", ["how is the honey behind the {l}?", "{n} kilos this time"], "The bees behind the {l} gave {n} kilos of honey."),
    ("The {p} will be given away free for {s} weeks to test the demand.", ["how do we test the demand for the {p}?", "we give it away for {s} weeks"], "The {p} will be given away for {s} weeks to test the demand."),
    ("The {t} team has switched to four days a week, and nobody wants to go back.", ["does the {t} team like the four days?", "nobody wants to go back"], "The {t} team likes the week of four days."),
    ("The excursion to {c} was too expensive, so the group will go by bus.", ["the trip to {c} is too expensive", "not if we go by bus"], "The group goes to {c} by bus to save money."),
    ("A burglar took {s} cameras from the {l} during the night.", ["what happened in the {l}?", "somebody took {s} cameras"], "{S} cameras were stolen from the {l}."),
    ("The nursery has {n} children on its waiting list.", ["how long is the waiting list of the nursery?", "{n} children"], "The waiting list of the nursery has {n} children."),
    ("The spelling of the street names on the map will be checked by {x}.", ["who checks the street names on the map?", "{x} does that"], "{x} checks the street names on the map."),
    ("Because the {p} is so heavy, it will be shipped in two boxes.", ["the {p} is too heavy for one box", "then we ship it in two"], "The {p} will be shipped in two boxes because it is so heavy."),
    ("The debate with the mayor takes place in {c} on {k} {m}.", ["when is the debate with the mayor?", "on {k} {m} in {c}"], "The debate with the mayor is on {k} {m} in {c}."),
    ("The telephone in the {l} has been silent for {s} days, so a technician was called.", ["the telephone in the {l} is dead for {s} days", "I called a technician"], "A technician was called because the telephone in the {l} is dead."),
    ("Volunteers collected {n} bags of rubbish along the river.", ["what came out of the clean-up at the river?", "{n} bags of rubbish"], "Volunteers collected {n} bags of rubbish along the river."),
    ("The {p} got {s} stars in a magazine.", ["did you read the magazine about our {p}?", "yes, {s} stars!"], "The {p} got {s} stars in a magazine."),
    ("The cooperation with the university of {c} ends in {m}.", ["do we still work with the university of {c}?", "only until {m}"], "The cooperation with the university of {c} ends in {m}."),
    ("The cook asked for a second oven, which the treasurer refused.", ["the cook wants a second oven", "the treasurer says no"], "The wish for a second oven was refused."),
    ("{x} won the election for the chair with {n} votes.", ["who won the election?", "{x}, with {n} votes"], "{x} was elected chair with {n} votes."),
    ("The speed limit in front of the {l} will be 30 from {d} on.", ["will there be a speed limit at the {l}?", "30, from {d} on"], "From {d} on, the speed limit at the {l} is 30."),
    ("Emails to the {t} team are now answered within {s} hours.", ["how fast does the {t} team answer emails now?", "within {s} hours"], "The {t} team now answers emails within {s} hours."),
    ("The statue on the square was cleaned for {n}0 euros.", ["what did it cost to clean the statue?", "{n}0 euros"], "Cleaning the statue cost {n}0 euros."),
    ("The first snow closed the road to {c}, and the mail came by train.", ["how did the mail come?", "by train, the road to {c} was closed by the snow"], "The mail came by train because the snow closed the road to {c}."),
    ("The pupils want warm meals on {d} and {e}.", ["what do the pupils want?", "warm meals on {d} and {e}"], "The pupils want warm meals on {d} and {e}."),
    ("The colors of the {p} look different in print, so new samples were ordered.", ["the colors of the {p} look wrong in print", "I ordered new samples"], "New samples were ordered because the colors of the {p} look wrong in print."),
    ("The archive holds {n} boxes that nobody has opened yet.", ["how many boxes of the archive are still unopened?", "{n}"], "{n} boxes of the archive have not been opened yet."),
    ("From {d} on, {x} teaches the course in place of {y}.", ["who teaches the course from {d} on?", "{x}, in place of {y}"], "From {d} on, {x} teaches the course in place of {y}."),
    ("The insurance refuses to pay for the broken window of the {l}.", ["does the insurance pay for the window of the {l}?", "no, they refuse"], "The insurance does not pay for the window of the {l}."),
    ("The radio interview about the {p} lasted {s} minutes and brought many calls.", ["how was the interview about the {p}?", "{s} minutes, and many people called"], "The radio interview about the {p} brought many calls."),
    ("Sandwiches sell better than soup, so the soup will be taken off the menu.", ["nobody buys the soup", "then we take it off the menu"], "The soup will be taken off the menu because it does not sell."),
    ("The wind turned over the tent of the {t} team.", ["what happened to the tent of the {t} team?", "the wind turned it over"], "The wind turned over the tent of the {t} team."),
    ("The app shows the wrong time in {c}, which will be corrected by {m}.", ["the app shows the wrong time in {c}", "we correct it by {m}"], "The wrong time in {c} will be corrected by {m}."),
    ("The grant for the orchestra was cut by {n} percent.", ["what about the grant for the orchestra?", "cut by {n} percent"], "The grant for the orchestra was cut by {n} percent."),
    ("The trees along the street will be cut in {m}, before the birds nest.", ["when are the trees cut?", "in {m}, before the birds nest"], "The trees will be cut in {m}, before the birds nest."),
    ("The heating in the {l} fails at night, so {x} will call the landlord.", ["is the heating in the {l} still cold at night?", "yes, {x} calls the landlord"], "{x} will call the landlord because the heating in the {l} fails at night."),
    ("The final of the cup was won {s} to one, and {n} fans came to watch.", ["how was the final?", "we won {s} to one", "and {n} fans were there"], "The final was won {s} to one in front of {n} fans."),
    ("Tickets for the museum will cost {n} euros from {m}; children stay free.", ["are tickets for the museum going up?", "yes, {n} euros from {m}, but children stay free"], "Museum tickets cost {n} euros from {m}, and children stay free."),
    ("The new doctor, {x}, sees patients on {d}s only.", ["when does the new doctor see patients?", "{x} is here on {d}s only"], "The new doctor, {x}, sees patients on {d}s."),
    ("A pipe burst in the {l}; the damage is about {n} thousand euros.", ["how bad is the water damage in the {l}?", "about {n} thousand euros, a pipe burst"], "A burst pipe in the {l} caused damage of {n} thousand euros."),
    ("The choir needs {s} tenors, so there will be auditions in {m}.", ["we are {s} tenors short", "then let us hold auditions in {m}"], "There will be auditions in {m} because {s} tenors are missing."),
    ("The password of the {t} team was leaked and has been changed.", ["somebody leaked the password of the {t} team", "I changed it at once"], "The leaked password of the {t} team has been changed."),
    ("The bus to {c} will stop at the {l} from {k} {m}.", ["does the bus to {c} stop at the {l}?", "from {k} {m} it does"], "The bus to {c} stops at the {l} from {k} {m}."),
    ("The {p} is out of stock until {m}, and {n} orders are waiting.", ["can we still send the {p}?", "no, it is out of stock until {m}", "and {n} orders are waiting"], "The {p} is out of stock until {m}, with {n} orders waiting."),
    ("{x} has broken an arm, so {y} will drive the van.", ["who drives the van now that {x} broke an arm?", "{y} will"], "{y} drives the van because {x} has broken an arm."),
    ("The lake was tested and is clean enough for swimming.", ["what did the test of the lake say?", "clean enough for swimming"], "The lake is clean enough for swimming."),
    ("The survey was answered by {n} people; most of them want longer opening hours.", ["how many people answered the survey?", "{n}", "and most want longer opening hours"], "{n} people answered the survey, and most want longer opening hours."),
    ("The committee chose the {col} uniform, which is the cheapest.", ["which uniform do we take?", "the {col} one, it is the cheapest"], "The cheapest uniform, the {col} one, was chosen."),
    ("The internet in the {l} is slow, so a second line will be ordered.", ["the internet in the {l} is so slow", "I will order a second line"], "A second line will be ordered because the internet in the {l} is slow."),
    ("The flight to {c} now leaves at {e2} in the morning.", ["when does the flight to {c} leave?", "at {e2} in the morning now"], "The flight to {c} now leaves at {e2} in the morning."),
    ("The {t} team lost {s} people and asks for help.", ["how is the {t} team doing?", "{s} people left, they need help"], "The {t} team needs help because {s} people left."),
    ("The raffle brought in {n} euros for the hospital.", ["what did the raffle bring in?", "{n} euros for the hospital"], "The raffle brought in {n} euros for the hospital."),
    ("The {l} will get solar panels, paid by the city of {c}.", ["who pays for the solar panels on the {l}?", "the city of {c} does"], "The city of {c} pays for solar panels on the {l}."),
    ("The exam on {d} was too hard, and only {s} pupils passed.", ["how was the exam on {d}?", "too hard, only {s} passed"], "Only {s} pupils passed the hard exam on {d}."),
    ("The bakery raised its prices, so the canteen will bake its own bread.", ["the bakery is more expensive now", "then the canteen bakes its own bread"], "The canteen will bake its own bread because the bakery raised its prices."),
    ("The {p} received its certificate on {k} {m}.", ["do we have the certificate for the {p}?", "yes, since {k} {m}"], "The {p} got its certificate on {k} {m}."),
    ("The parking spaces behind the {l} go to the night shift.", ["who gets the parking spaces behind the {l}?", "the night shift"], "The night shift gets the parking spaces behind the {l}."),
    ("The summer party is on {k} {m}, and {x} brings the music.", ["when is the summer party?", "on {k} {m}", "I bring the music"], "The summer party is on {k} {m}."),
    ("{n} new members joined, so a larger room is needed.", ["we have {n} new members", "then we need a larger room"], "A larger room is needed because {n} new members joined."),
    ("The price of wood rose by {n} percent, which delays the roof of the {l}.", ["wood is {n} percent more expensive", "so the roof of the {l} has to wait"], "The roof of the {l} is delayed because wood costs {n} percent more."),
    ("The night train to {c} is full, so the group takes the bus on {d}.", ["is there space on the night train to {c}?", "no, we take the bus on {d}"], "The group takes the bus on {d} because the night train to {c} is full."),
]
OPEN = ["okay, let's start", "thanks for coming", "hi all", "is everybody here?", "quick call", "good morning", "let us begin"]
SMALL = ["good", "great", "okay", "thanks", "fine", "agreed", "nice", "I see", "good to know", "anything else?", "next point"]
CLOSE = ["that is all", "thanks, bye", "see you next week", "thank you all", "okay, bye"]
ASK = ["{k} bullets please", "Recap in {k} bullet points.", "Give me the short version: {k} bullet points.", "Write {k} bullet points that sum this up.", "Summarize in exactly {k} bullet points.", "bullet points pls, {k}", "I need {k} bullet points from these minutes.", "What was decided? {k} bullet points, nothing else.", "Sum this up as {k} bullets.", "The main points as {k} bullets:",
       "Summarize the meeting transcript in {k} bullet points.", "Please summarize the attached transcript in {k} bullet points.", "Summarize the following in {k} bullet points.", "short summary in {k} bullets", "List the {k} most important points as bullets.", "Can you make {k} bullet points of this?", "Exactly {k} bullet points about this meeting, please.", "in short, {k} bullets"]


def minutes(r):
    """A summary in exactly n bullets, one a matter."""
    n = r.choice([2, 3, 3, 3, 3, 3, 3, 4])
    k = r.choice([str(n), NUM[n]])
    people = r.sample(FIRST, r.choice([2, 2, 3]))
    v = slots(r)
    said, points = [], []
    form = r.choice(["prose", "prose", "talk", "talk", "log"])
    for text, turns, point in r.sample(MATTERS, n + r.choice([0, 0, 0, 1])):
        v |= slots(r) | dict(k=r.randint(1, 28), y=r.choice(FIRST) + " " + r.choice(LAST), e2=r.randint(5, 9), col=r.choice("green blue white yellow red grey".split()), s=(s := r.choice(["two", "three", "four", "five", "six"])), S=cap(s))
        if form == "prose":
            said.append(text.format(**v))
        else:
            a, b = r.sample(people, 2)
            said += [((a, b)[i % 2], x.format(**v)) for i, x in enumerate(turns)]
            if r.random() < 0.35:
                said.append((r.choice(people), r.choice(SMALL)))
        points.append(cap(point.format(**v)))
    if form == "prose":
        text = r.choice(["", "", f"Minutes of {r.choice(DAYS)}. ", f"Meeting of {r.randint(1, 28)} {r.choice(MONTHS)}. ", "Minutes: ", "At the meeting of the choir: "]) + " ".join(said)
    else:
        said = r.choice([[], [(people[0], r.choice(OPEN))]]) + said + r.choice([[], [(people[0], r.choice(CLOSE))]])
        if form == "log":
            at = r.randint(0, 20)
            style = r.choice(["[{h}:{m:02}] {p}: {t}", "{p}: {t}", "{h}:{m:02} {p} {t}", "<{p}> {t}"])
            text = "\n".join(style.format(h=9, m=at + i, p=p.lower(), t=t.replace("I ", "i ")) for i, (p, t) in enumerate(said))
        else:
            who = {p: r.choice([p, p, f"Mr {r.choice(LAST)}", f"Ms {r.choice(LAST)}"]) for p in people}
            text = "\n".join(f"{who[p]}: {cap(t)}{'' if t[-1] in '?!' else '.'}" for p, t in said)
    c = C(maybe_system(r, 0.3) + [U(with_text(r, r.choice(ASK).format(k=k), text, r.choice(["Minutes", "Transcript", "Meeting transcript"]))), A("\n".join("- " + p for p in chosen(r, points, n)))])
    return think(c, f"There are {len(points)} matters. I write {NUM[n]} bullets, one a matter.", r, 0.06)
