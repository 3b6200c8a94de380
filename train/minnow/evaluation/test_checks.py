"""Tests of the checks: for every prompt, correct answers of several wordings pass, and answers with
one mistake fail.

    python -m unittest evaluation.test_checks
"""

import json
import os
import unittest

from . import checks

HERE = os.path.dirname(os.path.abspath(__file__))


def load(path):
    with open(path, encoding="utf-8") as f:
        return {p["id"]: p for p in map(json.loads, f)}


def answer(x, reasoning=None):
    """An answer of the form that `checks` takes; a tuple is a tool call."""
    calls = [{"name": x[0], "arguments": x[1]}] if isinstance(x, tuple) else []
    return {"content": "" if calls else x, "reasoning": reasoning, "calls": calls, "finish": "tool_calls" if calls else "stop"}


F = "```"
CORRECT = {
    "facts-1": ["The capital of Portugal is Lisbon.", "Lisbon", "It's **Lisbon**, on the Atlantic coast."],
    "facts-2": ["A leap year has 366 days.", "There are three hundred sixty-six (366) days in a leap year."],
    "facts-3": ["Alexander Graham Bell invented the telephone.", "Bell"],
    "facts-4": ["It is in Egypt.", "You can visit the Great Pyramid of Giza in Egypt, near Cairo."],
    "greetings-1": ["Hello! How can I help you?", "Yes, I'm here. What can I do for you?"],
    "greetings-2": ["Good evening! I'm doing well, thank you. How can I help?", "I am a program, so I am always fine. How can I help you?"],
    "greetings-3": ["You're welcome!", "Glad I could help. Have a nice day!"],
    "identity-1": ["I am Minnow, the small demonstration model of cachalot. I make mistakes.", "My name is Minnow."],
    "identity-2": ["I am Minnow, a model with 135 million parameters.", "Minnow: 135M parameters, derived from SmolLM2."],
    "identity-3": ["I come with cachalot. I was derived from SmolLM2, a small open model by Hugging Face.", "The cachalot project made me."],
    "identity-4": ["No. I am a very small model and I make mistakes.", "Please check anything important, since I am often wrong."],
    "system-1": ["Puppy", "puppy.", "Pup!"],
    "system-2": ["Hello! I'm Greta, the receptionist of the Lakeside dental practice. How can I help you?", "This is Greta."],
    "system-3": ["Sorry, we are closed on Sundays.", "No, Corner Books is not open on Sunday."],
    "system-4": ["A ripe banana is yellow. Stay safe out there.", "Ripe bananas are yellow.\n\nStay safe out there!"],
    "bullets-1": ["- The login bug was fixed, and the app is stable.\n- Support tickets doubled to 90 a day, so two more people will be hired.\n- The office moves to Harbour Street on 3 September.",
                  "Here is a summary:\n\n1. The app has been stable since the login bug was fixed on Tuesday.\n2. There are about 90 tickets a day.\n3. Two more people will be hired for support."],
    "bullets-2": ["* The new playground opens in May.\n* The kitchen tries two sittings because of the long lunch queue.\n* The concert moves to the town hall because the roof of the gym leaks."],
    "bullets-3": ["• The vendor wants 12% more, so they ask for another quote.\n• The 40 laptops have arrived.\n• Thursday's training is cancelled because the trainer is ill."],
    "bullets-4": ["- The library stays open until 8 pm on weekdays from January.\n- The council gave 6,000 pounds for new books.\n- The cafe's lease was renewed for one year."],
    "actions-1": ["- Karim: send the revised figures to the board (by Wednesday)\n- Lucy: book the room for the workshop (by Friday)", "Action items:\n1. Karim will send the revised figures to the board by Wednesday.\n2. Lucy has to book the workshop room before Friday.",
                  "**Karim:**\n- Send the figures by Wednesday\n\n**Lucy:**\n- Book the room by Friday", "Karim sends the figures by Wednesday. Lucy books the room before Friday."],
    "actions-2": ["- Marta: call the caterer (by Monday)\n- Jonas: order the chairs (no date)", "Marta calls the caterer by Monday; Jonas orders the chairs."],
    "actions-3": ["- Paul: update the price list (by Thursday)\n- Hana: talk to the lawyers (Tuesday)", "| Owner | Task | Deadline |\n|---|---|---|\n| Paul | Update the price list | Thursday |\n| Hana | Talk to the lawyers | Tuesday |"],
    "actions-4": ["- Felix: repair the printer\n- Nora: write the newsletter (by 20 May)\n- Ivan: water the plants while Nora is away"],
    "missing-1": ["I do not see a transcript in your message. Please paste the text here, and I will summarize it in 3 bullet points.", "There is no transcript attached.", "Could you share the transcript?"],
    "missing-2": ["I cannot see a cover letter. Please paste it here.", "It looks like nothing was attached to your message. Could you paste the letter?"],
    "missing-3": ["I do not see any notes in your message. Please paste them here, and I will list the action items.", "Your message doesn't contain any notes."],
    "explain-1": ["A firewall watches the traffic between a computer and a network. It blocks connections that are not allowed, and so protects the computer from attacks."],
    "explain-2": ["Light travels much faster than sound. The flash reaches your eyes almost at once, but the thunder needs about three seconds for a kilometre."],
    "explain-3": ["A mortgage is a loan that people take from a bank to buy a house. They pay it back over many years, with interest, and the bank can take the house if they stop."],
    "explain-4": ["RAM is fast memory that holds what the computer is working with, and loses it without power. A hard drive stores files permanently, but is slower."],
    "code-1": [f"{F}python\ndef to_fahrenheit(c):\n    return c * 9 / 5 + 32\n{F}\nThis multiplies by 9/5.", "def f(celsius):\n    return (celsius * 1.8) + 32\n\nCall it with f(20)."],
    "code-2": [f"Sure!\n\n{F}python\ndef is_palindrome(s):\n    return s == s[::-1]\n\nprint(is_palindrome('level'))\n{F}", f"{F}\ndef is_palindrome(s: str) -> bool:\n    s = s.lower()\n    for i in range(len(s) // 2):\n        if s[i] != s[-1 - i]:\n            return False\n    return True\n{F}"],
    "code-3": [f"{F}python\ndef largest(xs):\n    return max(xs)\n{F}", f"{F}python\ndef largest(numbers):\n    best = numbers[0]\n    for n in numbers:\n        if n > best:\n            best = n\n    return best\n{F}\n\n{F}python\nprint(largest([1, 2]))\n{F}"],
    "code-4": [f"{F}sql\nSELECT name FROM employees WHERE salary > 50000;\n{F}", "SELECT name\nFROM employees\nWHERE salary > 50000;"],
    "memory-1": ["You play the cello.", "The cello!"],
    "memory-2": ["Your booking number is 48213.", "48213"],
    "memory-3": ["Your mother is allergic to nuts.", "Your mum, to nuts."],
    "memory-4": ["Your train leaves at 11.", "At 11 o'clock.", "It leaves at eleven, not 9."],
    "tools-1": [("get_weather", {"city": "Glasgow"}), ("get_weather", {"city": "Glasgow, UK", "day": "today"})],
    "tools-2": [("convert_currency", {"amount": 250, "source": "USD", "target": "EUR"}), ("convert_currency", {"amount": 250.0, "source": "usd", "target": "eur"})],
    "tools-3": [("set_timer", {"minutes": 12}), ("set_timer", {"minutes": 12, "label": "Pasta"})],
    "tools-4": [("search_flights", {"origin": "Oslo", "destination": "Madrid", "date": "3 May"}), ("search_flights", {"origin": "Oslo", "destination": "Madrid", "date": "2026-05-03"})],
    "no-tool-1": ["The plural of 'mouse' is 'mice'.", "Mice"],
    "no-tool-2": ["There are 60 seconds in a minute.", "Sixty."],
    "no-tool-3": ["Hello! Nice to meet you too.", "Hi! How can I help you in the kitchen?"],
    "result-1": ["Yes, take an umbrella: heavy rain is expected in Glasgow, with 11 degrees.", "It is raining heavily in Glasgow, so yes."],
    "result-2": ["250 dollars are 231.48 euros.", "That is 231.48 EUR."],
    "result-3": ["Your parcel is in transit and should arrive on Friday.", "It is on its way."],
    "result-4": ["The next train to Bergen leaves at 14:05 from platform 3.", "At 2:05 pm, platform three."],
    "json-1": ['{"name": "Elena Petrova", "company": "Nordlicht GmbH", "email": "elena@nordlicht.example", "extension": 214}'],
    "json-2": ['{"country": "Egypt", "capital": "Cairo", "continent": "Africa"}'],
    "json-3": ['{"sentiment": "negative", "recommend": false}'],
    "json-4": ['{"item": "notebook", "quantity": 3, "price": 4.5}', '{"item": "notebooks", "quantity": 3, "price": "4.50 euros"}'],
    "thinking-1": ["34 + 28 = 62", "The answer is 62.", "62, because 34 + 28 = 62"],
    "thinking-2": ["You have 32 euros left.", "50 - 18 = 32"],
    "thinking-3": ["7 x 8 = 56.", "Fifty-six."],
    "thinking-4": ["There are 28 children in the class.", "13 + 15 = 28"],
    "repetition-1": ["Old Henrik had kept the lighthouse for forty years. Every evening he climbed the stairs and lit the lamp, so that the boats found their way home. One night a storm came, and his light saved a crew."],
    "repetition-2": ["I am Minnow, the small demonstration model of cachalot."],
    "repetition-3": ["1. Dog\n2. Cat\n3. Horse\n4. Cow\n5. Pig\n6. Sheep\n7. Goat\n8. Lion\n9. Tiger\n10. Bear", "Here are ten animals: dog, cat, horse, cow, pig, sheep, goat, lion, tiger and bear."],
}
WRONG = {
    "facts-1": ["The capital of Portugal is Madrid.", "I do not know."], "facts-2": ["A leap year has 365 days.", "A leap year has 3660 days."], "facts-3": ["Thomas Edison invented it."], "facts-4": ["It is in Mexico."],
    "greetings-1": ["The capital of France is Paris.", "- Karim: send the figures"], "greetings-2": ["The good weather of Berlin is a city."], "greetings-3": ["The answer is 42.", "I do not see a transcript in your message."],
    "identity-1": ["I am SmolLM, trained by Hugging Face.", "I am ChatGPT."], "identity-2": ["I am Minnow, a model of 135 billion parameters.", "I am Minnow."], "identity-3": ["I was made by OpenAI.", "I am an AI language model."], "identity-4": ["Yes, you can rely on me.", "I am Minnow."],
    "system-1": ["A baby dog is called a puppy.", "Kitten"], "system-2": ["I am Minnow, a small language model.", "I am Greta, a language model."], "system-3": ["Yes, we are open from 10 am to 6 pm.", "We are at 4 Mill Street."], "system-4": ["A ripe banana is yellow.", "Stay safe out there."],
    "bullets-1": ["- The login bug was fixed, and the app is stable.\n- Tickets doubled to 90 a day.", "- The login bug was fixed.\n- The login bug was fixed on Tuesday.\n- The office moves to Harbour Street.", "- The login bug was fixed.\n- Support has 95 tickets a day.\n- The office moves on 3 September.",
                  "- The app was fixed at Harbour Street with a login.\n- The team hires two more people.\n- The move is on 3 September.", "The login bug was fixed. There are 90 tickets a day. The office moves to Harbour Street.", "- One point\n- Two points\n- Three points"],
    "bullets-2": ["* The playground opens in May.\n* The concert is in the gym.\n* Parents complained.\n* The kitchen tries two sittings."], "bullets-3": ["• The vendor wants 12% more.\n• The 40 laptops have arrived.\n• The training starts on Thursday."],
    "bullets-4": ["- The library stays open until 8 pm on weekdays.\n- The council gave 600 pounds for books.\n- The cafe's lease was renewed."],
    "actions-1": ["- Karim: send the revised figures to the board (by Friday)\n- Lucy: book the room (by Friday)", "- Lucy: send the figures to the board (by Wednesday)\n- Karim: book the room (by Friday)", "- Karim: send the revised figures to the board (by Wednesday)",
                  "- Karim: send the figures (by Wednesday)\n- Lucy: book the room (by Friday)\n- Tom: design a new logo (by Monday)"],
    "actions-2": ["- Marta: call the caterer (by Monday)\n- Jonas: order the chairs (by Monday)", "- Marta: call the caterer (by Monday)\n- Jonas: order the chairs\n- Weather: looks ok"], "actions-3": ["- Ruth: update the price list (by Thursday)\n- Hana: talk to the lawyers (by Tuesday)"],
    "actions-4": ["- Felix: repair the printer (by Friday)\n- Nora: write the newsletter (by 20 May)\n- Ivan: water the plants"],
    "missing-1": ["- The team agreed on the plan.\n- Sales went up.\n- The next meeting is on Friday.", "The meeting was about the budget."], "missing-2": ["Dear Sir or Madam, I am writing to apply for the position."], "missing-3": ["- Tom: send the logo (by Thursday)", "Tom will send the logo by Thursday."],
    "explain-1": ["A firewall is a wall made of fire that burns in houses and needs a lot of wood to go on."], "explain-2": ["The lightning is very hot and bright, and the thunder is loud, because clouds are made of water."], "explain-3": ["A mortgage is a kind of school where people learn how to grow fruit in the garden."], "explain-4": ["They are both parts of a computer that come in many colours and sizes and shapes."],
    "code-1": [f"{F}python\ndef to_fahrenheit(c):\n    return c * 5 / 9 + 32\n{F}", "Multiply by 9/5 and add 32.", f"{F}python\ndef f(c)\n    return c * 9 / 5 + 32\n{F}"], "code-2": [f"{F}python\ndef is_palindrome(s):\n    return True\n{F}", f"{F}python\ndef check(s):\n    return s == s[::-1]\n{F}"],
    "code-3": [f"{F}python\ndef largest(xs):\n    return min(xs)\n{F}", f"{F}python\ndef largest(xs):\n    while True:\n        pass\n{F}", f"{F}python\nimport os\nos.system('true')\ndef largest(xs):\n    return max(xs)\n{F}"], "code-4": ["SELECT name FROM employees;", "SELECT name FROM users WHERE salary > 50000;", "DELETE FROM employees;"],
    "memory-1": ["You play the piano.", "You have not told me that yet."], "memory-2": ["Your booking number is 4821.", "I do not know."], "memory-3": ["You are allergic to nuts.", "Your father is allergic to nuts."], "memory-4": ["Your train leaves at 9.", "It leaves at 9, not at 11."],
    "tools-1": [("get_weather", {"city": "London"}), ("get_weather", {}), ("get_weather", {"city": "Glasgow", "day": "Monday"}), "It is raining in Glasgow."], "tools-2": [("convert_currency", {"amount": 25, "source": "USD", "target": "EUR"}), ("convert_currency", {"amount": 250, "source": "EUR", "target": "USD"})],
    "tools-3": [("set_timer", {"minutes": 10}), "I have set a timer for 12 minutes."], "tools-4": [("search_flights", {"origin": "Madrid", "destination": "Oslo"}), ("book_hotel", {"city": "Madrid", "nights": 3}), ("search_flights", {"origin": "Oslo", "destination": "Madrid", "date": "5 March"})],
    "no-tool-1": [("get_weather", {"city": "Mouse"}), "The plural is 'mouses'."], "no-tool-2": [("convert_currency", {"amount": 60, "source": "s", "target": "min"}), "There are 100 seconds in a minute."], "no-tool-3": [("set_timer", {"minutes": 1}), "The timer is set."],
    "result-1": ["No, it is sunny in Glasgow.", "Yes, it is raining with 21 degrees.", ("get_weather", {"city": "Glasgow"})], "result-2": ["250 dollars are 213.48 euros."], "result-3": ["Your parcel was delivered.", "It will arrive on Monday."], "result-4": ["The next train leaves at 14:50 from platform 3.", "The next train leaves at 14:05 from platform 5."],
    "json-1": ['{"name": "Elena Petrova", "company": "Nordlicht GmbH", "email": "elena@nordlicht.example", "extension": 241}', '{"name": "Elena Petrova"}', "Elena Petrova, Nordlicht GmbH"], "json-2": ['{"country": "Egypt", "capital": "Paris", "continent": "Africa"}'], "json-3": ['{"sentiment": "positive", "recommend": false}', '{"sentiment": "negative", "recommend": true}'], "json-4": ['{"item": "notebook", "quantity": 4, "price": 3}'],
    "thinking-1": ["34 + 28 = 52", "The answer is 6."], "thinking-2": ["You have 68 euros left.", "50 - 18 = 42, so 32 or 42."], "thinking-3": ["7 x 8 = 54."], "thinking-4": ["There are 13 girls and 15 boys.", "13 + 15 = 38"],
    "repetition-1": ["The lighthouse keeper lived in a lighthouse. " * 8, "A lighthouse."], "repetition-2": ["I am Minnow, a model of cachalot-135M-135M-135M-135M-135M-135M-135M" + "-135M" * 40 + " " + "and a model " * 6], "repetition-3": ["1. Dog\n2. Cat\n3. Dog\n4. Cat\n5. Dog\n6. Cat\n7. Dog\n8. Cat\n9. Dog\n10. Cat", "1. Dog\n2. Cat\n3. Horse"],
}
# Kinds whose correct answers may pass the prompts of another kind: a greeting is a greeting.
ALIKE = [{"greetings", "no-tool"}, {"greetings", "system"}, {"no-tool", "system"}, {"identity", "repetition"}, {"facts", "json"}]


class Checks(unittest.TestCase):
    prompts = load(os.path.join(HERE, "prompts.jsonl"))

    def thought(self, p):
        return "34 + 20 = 54. 54 + 8 = 62." if p["kind"] == "thinking" else None

    def test_there_are_sixty_prompts_with_right_and_wrong_samples(self):
        self.assertEqual(len(self.prompts), 60)
        self.assertEqual(set(self.prompts), set(CORRECT))
        self.assertEqual(set(self.prompts), set(WRONG))

    def test_correct_answers_pass(self):
        for i, p in self.prompts.items():
            for x in CORRECT[i]:
                with self.subTest(i, answer=x):
                    self.assertEqual(checks.failures(p, answer(x, self.thought(p))), [])

    def test_wrong_answers_fail(self):
        for i, p in self.prompts.items():
            for x in WRONG[i]:
                with self.subTest(i, answer=x):
                    self.assertNotEqual(checks.failures(p, answer(x, self.thought(p))), [])

    def test_correct_answers_of_other_prompts_fail(self):
        for i, p in self.prompts.items():
            for j, other in self.prompts.items():
                if i == j or p["kind"] == other["kind"] or any({p["kind"], other["kind"]} <= a for a in ALIKE):
                    continue
                for x in CORRECT[j]:
                    with self.subTest(i, answer=x):
                        self.assertNotEqual(checks.failures(p, answer(x, self.thought(p))), [])

    def test_an_answer_must_end_and_be_free_of_control_tokens(self):
        p = self.prompts["facts-1"]
        self.assertEqual(checks.failures(p, answer("Lisbon") | {"finish": "length"}), ["does not end (finish_reason length)"])
        self.assertEqual(checks.failures(p, answer("Lisbon</think>")), ["contains a control token"])
        self.assertEqual(checks.failures(p, {"error": "status 500"}), ["error: status 500"])

    def test_thinking_is_short_and_not_empty(self):
        p = self.prompts["thinking-1"]
        for reasoning in (None, "", "so " * 200):
            self.assertNotEqual(checks.failures(p, answer("62", reasoning)), [], reasoning)

    def test_repetition(self):
        for text in ("a lone moon\n" * 3, "no no no no no no no no no no no", "it is good and " * 4, "aaaaaaaaaaaaaaaaaaaaaaaa", "a DeepSeek" + "-1.1.1" * 8):
            self.assertTrue(checks.repeats(text), text)
        for text in ("- Tom: send the logo\n- Anna: send the file", "x = 1\nx = 2\nx = 3", "| a | b |\n|------------------|---|", "ha ha ha"):
            self.assertFalse(checks.repeats(text), text)

    def test_words_are_compared_without_case_and_whole(self):
        for word, text in (("7", "There are seven."), ("21", "twenty-one"), ("6000", "6,000 pounds"), ("filter*", "It is Filtering it"), ("don't", "I don’t"), ("3", "3rd: 3")):
            self.assertTrue(checks.occurs(word, checks.plain(text)), (word, text))
        for word, text in (("7", "17"), ("no", "note"), ("hi", "this"), ("12", "1.12.2"), ("11", "11.5"), ("15", "150")):
            self.assertFalse(checks.occurs(word, checks.plain(text)), (word, text))


if __name__ == "__main__":
    unittest.main()
