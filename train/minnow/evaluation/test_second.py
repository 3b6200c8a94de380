"""Right answers of the second set of prompts pass its checks and wrong ones fail: python -m unittest evaluation.test_second"""

import os
import unittest

from . import checks
from .prompts import HERE, load

F = "```"


def answer(x, kind):
    calls = [{"name": x[0], "arguments": x[1]}] if isinstance(x, tuple) else []
    return {"content": "" if calls else x, "reasoning": "I work this out step by step." if kind == "thinking" else None, "calls": calls, "finish": "tool_calls" if calls else "stop"}


# id: (right answers, wrong answers)
ANSWERS = {
    "facts-11": (["Mars is called the red planet.", "mars"], ["Venus is called the red planet."]),
    "facts-12": (["William Shakespeare wrote Romeo and Juliet.", "It was Shakespeare."], ["Charles Dickens wrote Romeo and Juliet."]),
    "facts-13": (["Water boils at 100 degrees Celsius at sea level.", "100°C (212°F)", "At one hundred degrees.", "100C"], ["Water boils at 90 degrees.", "At 1000 degrees."]),
    "facts-14": (["The Pacific Ocean is the largest.", "Pacific"], ["The Atlantic Ocean."]),
    "facts-15": (["A spider has eight legs!", "8"], ["A spider has six legs.", "It has 18 legs."]),
    "facts-16": (["People in Japan use the yen.", "The Japanese Yen (JPY, ¥)."], ["People in Japan use the won."]),
    "greetings-11": (["Good morning! How can I help you today?", "Hello!"], ["Paris is the capital of France.", "I cannot see a text."]),
    "greetings-12": (["Hi! I'm doing well, thank you. How can I help you?", "It's going well, thanks!"], ["The answer is 42."]),
    "greetings-13": (["Not much! What can I do for you?", "Hey! All good here."], ["Bananas are yellow."]),
    "greetings-14": (["Goodbye! Have a nice day.", "You're welcome. Take care!"], ["The meeting is on Monday."]),
    "greetings-15": (["You're welcome!", "I'm glad I could help."], ["I do not know the answer."]),
    "greetings-16": (["Nice to meet you too!", "Hello! How can I help you?", "The pleasure is mine."], ["The sea is blue."]),
    "identity-11": (["My name is Minnow.", "I'm Minnow, a small demonstration model."], ["I'm ChatGPT.", "My name is SmolLM."]),
    "identity-12": (["I have 135 million parameters.", "135M."], ["I have 7 billion parameters.", "I have 350 million parameters."]),
    "identity-13": (["No, I'm Minnow, a small model derived from SmolLM2.", "I am not ChatGPT.", "No.", "No, I am not.", "No I'm not, my name is Minnow."], ["Yes, I am ChatGPT.", "I'm ChatGPT, not a human.", "I am a language model."]),
    "identity-14": (["I was derived from SmolLM2-135M-Instruct, an open model of Hugging Face.", "I am based on SmolLM2."], ["I was trained from scratch.", "I am based on GPT-4 by OpenAI."]),
    "identity-15": (["I am the demonstration model of cachalot.", "Cachalot."], ["I am the demonstration model of TensorFlow."]),
    "identity-16": (["You are talking to a machine: I am Minnow, a small language model.", "A machine, not a human.", "I'm an AI."], ["I am a human.", "You're talking to a real person, not a machine."]),
    "system-11": (["THE OPPOSITE OF COLD IS HOT.", "HOT"], ["The opposite of cold is hot.", "THE OPPOSITE IS BLUE."]),
    "system-12": (["I'm Milo, your guide at the Riverside Zoo.", "Milo!"], ["My name is Minnow.", "I'm a guide at the zoo."]),
    "system-13": (["A mountain bike costs 25 euros a day.", "25 euros. A city bike would be 15 euros.", "It's twenty-five euros."], ["A mountain bike costs 15 euros a day.", "A mountain bike is 30 euros."]),
    "system-14": (["Ahoy! A year has 12 months.", "Ahoy, twelve."], ["A year has 12 months.", "Ahoy! A year has 10 months."]),
    "system-15": (["Yes.", "yes"], ["No.", "Yes, ice is cold."]),
    "system-16": (["The cow says moo. Have a sunny day!", "Cows do.\n\nHave a sunny day!"], ["The cow says moo.", "A dog says moo. Have a sunny day!"]),
    "bullets-11": (["- The new shelves are up and the forklift is repaired.\n- 220 bikes were sold in May, the best month so far.\n- The summer party is on 12 July in the park.", "1. Warehouse: shelves installed, forklift fixed\n2. Sales: 220 bikes in May, a record\n3. Party: July 12 by the river"],
    ["- The new shelves are up.\n- 220 bikes were sold in May.", "- The new shelves are up.\n- 320 bikes were sold in May, a record.\n- The party is on 12 July.", "- The new shelves are up.\n- The forklift is repaired.\n- The warehouse is large."]),
    "bullets-12": (["- The heating in flat 4 is broken; a plumber comes on Friday morning.\n- The bin day moves from Tuesday to Wednesday.\n- The rent stays the same this year.", "* Heating in flat 4 has not worked since Sunday.\n* Plumber visits Friday morning.\n* Bins are collected on Wednesday, and the rent is unchanged."],
    ["- The heating is broken.\n- A plumber comes on Monday.\n- The rent stays the same.", "The heating is broken, the plumber comes on Friday, and the rent stays."]),
    "bullets-13": (["- The membership fee rises to 25 pounds.\n- Two water taps will be installed near the gate.\n- Tools were stolen from the shed, so a stronger lock was bought.", "Summary:\n\n- Fees go up to £25\n- New taps by the gate\n- New lock for the shed after a theft"],
    ["- The membership fee rises to 35 pounds.\n- Two taps will be installed.\n- A new lock was bought.", "- The fee rises to 25 pounds.\n- Two taps will be installed.\n- The weather was good."]),
    "bullets-14": (["- The printer on floor 2 is out of toner; Max ordered some for tomorrow.\n- The fire drill is next Tuesday at 10.\n- Theo starts on Monday as the new designer."],
    ["- The printer is out of toner.\n- The fire drill is next Tuesday at 10.", "- The printer is out of toner.\n- The fire drill is on Tuesday at 11.\n- Theo starts on Monday."]),
    "bullets-15": (["- The lift is out of service from Monday to Wednesday; use the back stairs.\n- From October on, the front door is locked after 10 pm.", "* Elevator closed Monday to Wednesday (cable replacement)\n* Front door locked after 10 pm from October"],
    ["- The lift is out of service.\n- Use the stairs.\n- The door is locked after 10 pm.", "- The lift is out of service.\n- The garden is closed."]),
    "bullets-16": (["- The museum had 1,500 visitors in its first week.\n- Half of the audio guides had empty batteries, so new chargers were bought.\n- Five school classes from Lindau come next week."],
    ["- The museum had 1,500 visitors.\n- The audio guides worked well.\n- Five classes come next week.", "- The museum had 2,500 visitors.\n- New chargers were bought.\n- Five classes from Lindau come."]),
    "actions-11": (["- Yusuf: write to the suppliers (by Monday)\n- Greta: return the borrowed screens (Thursday)", "1. Yusuf will write to the suppliers by Monday.\n2. Greta will return the screens on Thursday."],
    ["- Yusuf: write to the suppliers (by Thursday)\n- Greta: return the screens (Thursday)", "- Greta: write to the suppliers (by Monday)\n- Yusuf: return the screens (Thursday)"]),
    "actions-12": (["- Ben: buy paint (before Saturday)\n- Olga: measure the wall (no date)", "Ben buys paint before Saturday. Olga measures the wall."],
    ["- Ben: buy paint (before Saturday)\n- Olga: measure the wall (before Saturday)", "- Ben: buy paint before Saturday"]),
    "actions-13": (["- Ralf: call the butcher (by tomorrow)\n- Mona: print the new menus (Friday)", "| Who | Task | When |\n|---|---|---|\n| Ralf | Call the butcher | tomorrow |\n| Mona | Print the new menus | Friday |"],
    ["- Ines: call the butcher (by tomorrow)\n- Mona: print the new menus (Friday)", "- Ralf: call the butcher (by tomorrow)\n- Mona: print the new menus (Friday)\n- Ines: welcome the guests (Sunday)"]),
    "actions-14": (["- Leo: clean the oven\n- Vera: send the invoice to Mr Brandt (by 3 June)\n- Sam: feed the cat until Vera is back", "**Leo**\n- Clean the oven (Leo)\n- Vera: send the invoice by June 3rd\n- Sam: feed the cat"],
    ["- Leo: clean the oven\n- Vera: send the invoice (by 5 June)\n- Sam: feed the cat", "- Leo: clean the oven\n- Vera: send the invoice (by 3 June)\n- Vera: feed the cat"]),
    "actions-15": (["- Dora: prepare the slides (by Tuesday)\n- Emil: check the contract (no deadline)", "Dora prepares the slides by Tuesday.\nEmil reviews the contract."],
    ["- Dora: prepare the slides (by Tuesday)\n- Emil: check the contract (by Tuesday)", "- Dora: prepare the slides\n- Emil: check the contract"]),
    "actions-16": (["- Kofi: pick up the keys (Wednesday)\n- Rita: paint the sign for the door (today)"], ["- Rita: pick up the keys (Wednesday)\n- Kofi: paint the sign (today)", "- Kofi: pick up the keys (Wednesday)"]),
    "missing-11": (["I do not see a report in your message. Please paste it here.", "There is no report attached."], ["The report shows that sales rose last year. It also lists the costs.", "- Sales rose.\n- Costs fell."]),
    "missing-12": (["I can't see an email. Please paste the text here.", "Please send me the email, and I will translate it."], ["Sehr geehrte Damen und Herren, vielen Dank."]),
    "missing-13": (["There is no article below. Could you paste it?", "Your message doesn't contain an article."], ["The main arguments of the article are about climate and trade."]),
    "missing-14": (["I cannot see your CV. Please paste its text here.", "No résumé is attached to your message."], ["Your CV looks good, but you should make it shorter and use clear headings.", "- Use short sentences.\n- Add a photo."]),
    "missing-15": (["I don't see any code in your message. Please paste it here.", "There is no code in your message."], ["There are no errors in your code.", "The code has a wrong variable in line three."]),
    "missing-16": (["I do not see any notes in your message. Could you paste them here?", "The notes are missing from your message; please share them.", "No notes were uploaded."], ["- Anna: send the report\n- Ben: call the bank"]),
    "explain-11": (["Photosynthesis is how plants make food. They use sunlight, water and carbon dioxide, and give off oxygen."], ["Photosynthesis is a way to take photos with a camera that uses a very bright lamp in a room."]),
    "explain-12": (["Ice floats because it is less dense than water. Water expands when it freezes, so the same mass needs more space."], ["Ice floats on water because it is colder than the water and the cold always goes to the top."]),
    "explain-13": (["A computer virus is a bad program that sneaks into a computer, copies itself and can damage your files."], ["A virus is a small living thing that makes people ill and gives them a cold or a fever."]),
    "explain-14": (["In a democracy, the people vote for their leaders. In a monarchy, a king or queen rules and usually inherits the throne."], ["A democracy and a monarchy are two forms of government which exist in many countries of the world."]),
    "explain-15": (["Inflation means that prices rise over time, so the same amount of money buys less than before."], ["Inflation is when you blow air into a balloon until it is big and round and full."]),
    "explain-16": (["A fridge pumps heat from the inside to the outside. A refrigerant absorbs warmth inside and gives it off at the back."], ["A fridge has a light that turns on when you open the door so you can see the food."]),
    "code-11": ([f"{F}python\ndef count_vowels(word):\n    return sum(c in 'aeiou' for c in word.lower())\n{F}"], [f"{F}python\ndef count_vowels(word):\n    return len(word)\n{F}"]),
    "code-12": ([f"Here you go:\n\n{F}python\ndef is_even(n):\n    return n % 2 == 0\n{F}"], [f"{F}python\ndef is_even(n):\n    return n % 2 == 1\n{F}", f"{F}python\ndef even(n):\n    return n % 2 == 0\n{F}"]),
    "code-13": ([f"{F}python\ndef total(numbers):\n    s = 0\n    for n in numbers:\n        s += n\n    return s\n{F}"], [f"{F}python\ndef total(numbers):\n    return len(numbers)\n{F}"]),
    "code-14": ([f"{F}sql\nSELECT title FROM books WHERE year > 2010;\n{F}", "SELECT title FROM books WHERE year >= 2011;"], [f"{F}sql\nSELECT title FROM books WHERE year >= 2010;\n{F}"]),
    "code-15": ([f"{F}python\ndef reverse_string(text):\n    return text[::-1]\n{F}"], [f"{F}python\ndef reverse_string(text):\n    return text\n{F}"]),
    "code-16": ([f"{F}sql\nSELECT COUNT(*) FROM customers;\n{F}", f"{F}\nSELECT COUNT(id) AS total FROM customers\n{F}"], [f"{F}sql\nSELECT * FROM customers;\n{F}", f"{F}sql\nSELECT COUNT(DISTINCT city) FROM customers;\n{F}"]),
    "memory-11": (["Yes, your name is Ludmila.", "Ludmila"], ["Your name is Minnow.", "I do not know your name."]),
    "memory-12": (["Your locker code is 3907."], ["Your locker code is 3970.", "It is 3907 or 1234."]),
    "memory-13": (["Your cats are called Pixel and Mocha."], ["Your cats are called Pixel and Latte."]),
    "memory-14": (["The meeting is on Thursday.", "Thursday, not Tuesday."], ["The meeting is on Tuesday.", "It is on Tuesday, not on Thursday.", "It's on Tuesday, or Thursday."]),
    "memory-15": (["Your sister is a pilot.", "She flies planes."], ["Your sister is a baker.", "She is a teacher."]),
    "memory-16": (["Your trip is in August.", "August."], ["Your trip is in July.", "You are going to Iceland."]),
    "tools-11": ([("get_time", {"city": "Toronto"})], [("get_time", {"city": "London"}), "It is 3 pm in Toronto."]),
    "tools-12": ([("set_light", {"room": "kitchen", "state": "off"})], [("set_light", {"room": "kitchen", "state": "on"}), ("set_light", {"room": "kitchen"})]),
    "tools-13": ([("send_message", {"recipient": "Victor", "text": "The train is late."}), ("send_message", {"recipient": "Victor", "text": "My train is running late"})], [("send_message", {"recipient": "Victor", "text": "Hello"}), ("send_message", {"recipient": "Anna", "text": "The train is late."})]),
    "tools-14": ([("create_reminder", {"text": "Water the plants", "time": "6 pm"}), ("create_reminder", {"text": "water the plants", "time": "18:00"})], [("create_reminder", {"text": "water the plants", "time": "6 am"}), ("get_time", {"city": "6 pm"})]),
    "tools-15": ([("convert_units", {"value": 10, "from_unit": "miles", "to_unit": "kilometres"}), ("convert_units", {"value": 10, "from_unit": "mi", "to_unit": "km"})], [("convert_units", {"value": 10, "from_unit": "km", "to_unit": "miles"}), ("convert_units", {"value": 100, "from_unit": "miles", "to_unit": "km"})]),
    "tools-16": ([("reserve_table", {"restaurant": "Da Luigi", "people": 4, "day": "Saturday"})], [("reserve_table", {"restaurant": "Da Luigi", "people": 2, "day": "Saturday"}), ("find_recipe", {"dish": "Da Luigi"})]),
    "no-tool-11": (["The opposite of 'early' is 'late'.", "late"], ["The opposite is 'soon'.", ("get_time", {"city": "early"})]),
    "no-tool-12": (["Spring comes after winter."], ["Autumn comes after winter.", ("set_light", {"room": "winter", "state": "on"})]),
    "no-tool-13": (["You're welcome! Have a good trip.", "My pleasure."], ["The time is 10:00.", ("get_time", {"city": "Paris"})]),
    "no-tool-14": (["The sea is wide and blue."], ["The mountain is very high.", ("create_reminder", {"text": "the sea", "time": "8 am"})]),
    "no-tool-15": (["A week has seven days.", "7"], ["A week has five days.", ("convert_units", {"value": 1, "from_unit": "week", "to_unit": "days"})]),
    "no-tool-16": (["Hello! How can I help you?"], ["The message was sent.", ("send_message", {"recipient": "there", "text": "hello"})]),
    "result-11": (["It is 08:40 in Toronto right now.", "8:40 am"], ["It is 09:40 in Toronto.", "It is 8:40 pm in Toronto.", ("get_time", {"city": "Toronto"})]),
    "result-12": (["The kitchen light is now off.", "I've turned off the kitchen light.", "It's off now.", "Off.", "Done! I turned off the light in the kitchen."], ["The kitchen light is now on.", "I could not turn off the light.", ("set_light", {"room": "kitchen", "state": "off"})]),
    "result-13": (["10 miles are 16.09 kilometres.", "About 16.1 km.", "16.09km"], ["10 miles are 6.2 kilometres.", "10 miles are 16.9 kilometres.", "It is 160.9 km."]),
    "result-14": (["Your table for 4 at Da Luigi on Saturday at 19:30 is confirmed.", "All set! Saturday, 7:30 pm."], ["Sorry, the table could not be reserved.", "Your table is confirmed for 20:30.", "Your table is confirmed for Sunday."]),
    "result-15": (["No, all copies are out. It will be back on Tuesday.", "It's not available right now, but it is available again on Tuesday.", "There are 0 copies available.", "The library has no copies right now.", "The book isn't available until Tuesday.", "No."], ["I do not know.", "Yes, the library has it.", "The Glass Harbour is available.", "No, it will be back on Friday."]),
    "result-16": (["Your savings account holds 1,840.50 euros.", "EUR 1840.5", "You have €1,840.50 in your savings account."], ["You have 1,480.50 euros.", "You have $1,840.50."]),
    "json-11": (['{"event": "Harvest Concert", "place": "Old Mill", "day": "Saturday", "price": 8}'], ['{"event": "Harvest Concert", "place": "Old Mill", "day": "Sunday", "price": 8}', "The Harvest Concert is on Saturday."]),
    "json-12": (['{"country": "Spain", "capital": "Madrid", "language": "Spanish"}'], ['{"country": "Spain", "capital": "Barcelona", "language": "Spanish"}']),
    "json-13": (['{"category": "billing", "refund_wanted": true}'], ['{"category": "delivery", "refund_wanted": true}', '{"category": "billing", "refund_wanted": false}']),
    "json-14": (['{"city": "Lyon", "temperature": 21}', '{"city": "Lyon", "temperature": "21 degrees"}'], ['{"city": "Lyon", "temperature": 12}', '{"city": "Lyon"}']),
    "json-15": (['{"dish": "pancakes", "ingredients": ["flour", "eggs", "milk"]}'], ['{"dish": "pancakes", "ingredients": ["flour", "milk"]}', '{"dish": "pancakes", "ingredients": ["flour", "sugar", "milk"]}']),
    "json-16": (['{"rooms": 3, "area": 72, "balcony": true, "pets": false}'], ['{"rooms": 3, "area": 72, "balcony": true, "pets": true}', '{"rooms": 2, "area": 72, "balcony": true, "pets": false}']),
    "thinking-11": (["9 times 6 is 54.", "54"], ["9 times 6 is 56."]),
    "thinking-12": (["81 - 37 = 44"], ["81 - 37 = 54"]),
    "thinking-13": (["19 apples are left.", "24 - 5 = 19"], ["There are 29 apples left.", "There are 5 left."]),
    "thinking-14": (["5 tickets cost 35 euros.", "7 * 5 = 35, so they cost thirty-five euros."], ["5 tickets cost 12 euros."]),
    "thinking-15": (["46 + 19 = 65", "The sum is 65."], ["46 + 19 = 55"]),
    "thinking-16": (["36 divided by 4 is 9.", "Nine."], ["36 divided by 4 is 8."]),
    "repetition-11": (["The autumn wind goes down the lane,\nIt shakes the apples from the tree,\nIt carries leaves and drops of rain\nAnd sings a quiet song to me."], ["The summer sun is warm and bright, it shines on every field and tree, and keeps us happy until night.", "The wind. " * 20]),
    "repetition-12": (["Rufus was a small brown dog who lived on a farm. One day he dug a hole behind the barn and found an old map. It showed a red cross near the river. He ran there, dug again, and found a box full of bones. He shared them with all of his friends."], ["A cat slept on the sofa all day long and dreamed of fish. In the evening it woke up, ate its dinner, and went back to sleep again until the sun came up.", "The dog found a map. " * 10]),
    "repetition-13": (["1. Apple\n2. Banana\n3. Cherry\n4. Grape\n5. Lemon\n6. Mango\n7. Orange\n8. Peach\n9. Pear\n10. Plum\n11. Kiwi\n12. Melon"], ["1. Apple\n2. Banana\n3. Cherry\n4. Apple\n5. Lemon\n6. Mango\n7. Orange\n8. Peach\n9. Pear\n10. Plum\n11. Kiwi\n12. Melon", "Apples and pears."]),
    "repetition-14": (["- France\n- Spain\n- Italy\n- Germany\n- Poland\n- Sweden\n- Greece\n- Portugal", "Eight countries in Europe: France, Spain, Italy, Germany, Poland, Sweden, Greece, and Portugal."], ["- France\n- Spain\n- Italy\n- France\n- Poland\n- Sweden\n- Greece\n- Portugal", "- France\n- Spain\n- Italy\n- China\n- Poland\n- Sweden\n- Greece\n- Portugal"]),
    "repetition-15": (["The sun was up early, and the sand was warm under our feet. We swam in the sea, built a castle, ate ice cream and watched the boats until evening."], ["The mountain was high and the path was steep. We climbed for hours, ate our bread at the top and walked home in the evening, tired and happy.", "The beach is nice. " * 12]),
    "repetition-16": (["Hello! I'm Minnow, a small demonstration model of cachalot with 135 million parameters. I make mistakes."], ["I am an assistant who can help you with many things."]),
}


class SecondSet(unittest.TestCase):
    prompts = {p["id"]: p for p in load(os.path.join(HERE, "second.jsonl"))}

    def test_it_has_six_prompts_of_each_kind_and_samples_of_all(self):
        kinds = [p["kind"] for p in self.prompts.values()]
        self.assertEqual({kinds.count(k) for k in kinds}, {6})
        self.assertEqual(set(self.prompts), set(ANSWERS))

    def test_right_answers_pass_and_wrong_ones_fail(self):
        for i, (right, wrong) in ANSWERS.items():
            p = self.prompts[i]
            for x, passes in [(x, True) for x in right] + [(x, False) for x in wrong]:
                with self.subTest(i, answer=x):
                    self.assertEqual(not checks.failures(p, answer(x, p["kind"])), passes)


if __name__ == "__main__":
    unittest.main()
