"""Small code. Every Python answer is run against its check once, when the module's `check` is called (test_minnow.py does)."""

from conversation import A, C, U, maybe_system, think

FUNCTIONS = [  # (what the function does, name, parameters, body lines, check)
    ("adds two numbers", "add", "a, b", "return a + b", "f(2, 3) == 5"), ("subtracts two numbers", "subtract", "a, b", "return a - b", "f(5, 3) == 2"), ("multiplies two numbers", "multiply", "a, b", "return a * b", "f(4, 3) == 12"), ("divides two numbers", "divide", "a, b", "return a / b", "f(6, 3) == 2"),
    ("returns the square of a number", "square", "x", "return x * x", "f(5) == 25"), ("returns the cube of a number", "cube", "x", "return x ** 3", "f(2) == 8"), ("returns the larger of two numbers", "larger", "a, b", "return a if a > b else b", "f(2, 7) == 7"), ("returns the smaller of two numbers", "smaller", "a, b", "return a if a < b else b", "f(2, 7) == 2"),
    ("returns the largest number of a list", "largest", "numbers", "return max(numbers)", "f([3, 9, 2]) == 9"), ("returns the smallest number of a list", "smallest", "numbers", "return min(numbers)", "f([3, 9, 2]) == 2"), ("returns the sum of a list", "total", "numbers", "return sum(numbers)", "f([1, 2, 3]) == 6"), ("returns the average of a list", "average", "numbers", "return sum(numbers) / len(numbers)", "f([1, 2, 3]) == 2"),
    ("checks whether a number is even", "is_even", "n", "return n % 2 == 0", "f(4) and not f(3)"), ("checks whether a number is odd", "is_odd", "n", "return n % 2 == 1", "f(3) and not f(4)"), ("checks whether a number is positive", "is_positive", "n", "return n > 0", "f(3) and not f(-1)"), ("checks whether a number is divisible by another", "is_divisible", "a, b", "return a % b == 0", "f(6, 3) and not f(7, 3)"),
    ("reverses a string", "reverse", "text", "return text[::-1]", "f('abc') == 'cba'"), ("checks whether a word is a palindrome", "is_palindrome", "word", "return word == word[::-1]", "f('anna') and not f('ab')"), ("counts the vowels in a string", "count_vowels", "text", "return sum(1 for c in text.lower() if c in \"aeiou\")", "f('Banana') == 3"), ("counts the words in a text", "count_words", "text", "return len(text.split())", "f('a b c') == 3"),
    ("returns the length of a string", "length", "text", "return len(text)", "f('abc') == 3"), ("converts a string to upper case", "to_upper", "text", "return text.upper()", "f('ab') == 'AB'"), ("converts a string to lower case", "to_lower", "text", "return text.lower()", "f('AB') == 'ab'"), ("removes the spaces from a string", "remove_spaces", "text", "return text.replace(\" \", \"\")", "f('a b') == 'ab'"),
    ("returns the first letter of a word", "first_letter", "word", "return word[0]", "f('cat') == 'c'"), ("returns the last element of a list", "last", "items", "return items[-1]", "f([1, 2]) == 2"), ("returns the first element of a list", "first", "items", "return items[0]", "f([1, 2]) == 1"), ("reverses a list", "reverse_list", "items", "return items[::-1]", "f([1, 2]) == [2, 1]"),
    ("removes duplicates from a list", "unique", "items", "return list(dict.fromkeys(items))", "f([1, 1, 2]) == [1, 2]"), ("sorts a list in descending order", "sort_descending", "items", "return sorted(items, reverse=True)", "f([1, 3, 2]) == [3, 2, 1]"), ("sorts a list of words by length", "sort_by_length", "words", "return sorted(words, key=len)", "f(['aaa', 'b']) == ['b', 'aaa']"), ("joins a list of words with commas", "join_words", "words", "return \", \".join(words)", "f(['a', 'b']) == 'a, b'"),
    ("computes the factorial of a number", "factorial", "n", "result = 1\nfor i in range(2, n + 1):\n    result *= i\nreturn result", "f(5) == 120"), ("computes the factorial of a number recursively", "factorial", "n", "if n <= 1:\n    return 1\nreturn n * factorial(n - 1)", "f(5) == 120"), ("returns the n-th Fibonacci number", "fibonacci", "n", "a, b = 0, 1\nfor _ in range(n):\n    a, b = b, a + b\nreturn a", "f(7) == 13"),
    ("checks whether a number is prime", "is_prime", "n", "if n < 2:\n    return False\nfor i in range(2, int(n ** 0.5) + 1):\n    if n % i == 0:\n        return False\nreturn True", "f(7) and not f(9) and not f(1)"), ("returns all even numbers of a list", "even_numbers", "numbers", "return [n for n in numbers if n % 2 == 0]", "f([1, 2, 4]) == [2, 4]"), ("returns all positive numbers of a list", "positive_numbers", "numbers", "return [n for n in numbers if n > 0]", "f([-1, 2]) == [2]"),
    ("doubles every number of a list", "double_all", "numbers", "return [2 * n for n in numbers]", "f([1, 2]) == [2, 4]"), ("squares every number of a list", "square_all", "numbers", "return [n * n for n in numbers]", "f([1, 3]) == [1, 9]"), ("counts how often a value occurs in a list", "count", "items, value", "return items.count(value)", "f([1, 1, 2], 1) == 2"), ("counts the letters of a word in a dictionary", "count_letters", "word", "counts = {}\nfor c in word:\n    counts[c] = counts.get(c, 0) + 1\nreturn counts", "f('aab') == {'a': 2, 'b': 1}"),
    ("converts Celsius to Fahrenheit", "to_fahrenheit", "celsius", "return celsius * 9 / 5 + 32", "f(100) == 212"), ("converts Fahrenheit to Celsius", "to_celsius", "fahrenheit", "return (fahrenheit - 32) * 5 / 9", "f(212) == 100"), ("converts kilometers to miles", "to_miles", "km", "return km * 0.621371", "abs(f(10) - 6.21) < 0.01"), ("converts minutes to hours and minutes", "split_minutes", "minutes", "return minutes // 60, minutes % 60", "f(75) == (1, 15)"),
    ("returns the area of a circle", "circle_area", "radius", "return 3.14159 * radius ** 2", "abs(f(1) - 3.14159) < 1e-6"), ("returns the area of a rectangle", "rectangle_area", "width, height", "return width * height", "f(2, 3) == 6"), ("returns the area of a triangle", "triangle_area", "base, height", "return base * height / 2", "f(2, 3) == 3"), ("returns the circumference of a circle", "circumference", "radius", "return 2 * 3.14159 * radius", "abs(f(1) - 6.28318) < 1e-6"),
    ("greets a person by name", "greet", "name", "return f\"Hello, {name}!\"", "f('Ada') == 'Hello, Ada!'"), ("returns the absolute value of a number", "absolute", "x", "return x if x >= 0 else -x", "f(-3) == 3"), ("computes the power of a number", "power", "base, exponent", "return base ** exponent", "f(2, 3) == 8"), ("swaps two values", "swap", "a, b", "return b, a", "f(1, 2) == (2, 1)"),
    ("checks whether a list is empty", "is_empty", "items", "return len(items) == 0", "f([]) and not f([1])"), ("checks whether a word is in a text", "contains", "text, word", "return word in text", "f('abc', 'b') and not f('abc', 'x')"), ("checks whether a year is a leap year", "is_leap_year", "year", "return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)", "f(2000) and f(2024) and not f(1900)"), ("adds up the digits of a number", "digit_sum", "n", "return sum(int(d) for d in str(n))", "f(123) == 6"),
    ("merges two dictionaries", "merge", "a, b", "return {**a, **b}", "f({1: 2}, {3: 4}) == {1: 2, 3: 4}"), ("returns the longest word of a list", "longest_word", "words", "return max(words, key=len)", "f(['a', 'bbb']) == 'bbb'"), ("capitalizes every word of a text", "capitalize_words", "text", "return text.title()", "f('a cat') == 'A Cat'"), ("finds the common elements of two lists", "common", "a, b", "return [x for x in a if x in b]", "f([1, 2], [2, 3]) == [2]"),
    ("searches a sorted list with binary search", "binary_search", "items, target", "low, high = 0, len(items) - 1\nwhile low <= high:\n    middle = (low + high) // 2\n    if items[middle] == target:\n        return middle\n    if items[middle] < target:\n        low = middle + 1\n    else:\n        high = middle - 1\nreturn -1", "f([1, 3, 5], 5) == 2 and f([1], 2) == -1"), ("computes the greatest common divisor of two numbers", "gcd", "a, b", "while b:\n    a, b = b, a % b\nreturn a", "f(12, 18) == 6"),
    ("flattens a list of lists", "flatten", "lists", "return [x for part in lists for x in part]", "f([[1], [2, 3]]) == [1, 2, 3]"), ("counts the lines of a file", "count_lines", "path", "with open(path) as f:\n    return len(f.readlines())", None), ("reads a text file", "read_file", "path", "with open(path) as f:\n    return f.read()", None), ("writes a text to a file", "write_file", "path, text", "with open(path, \"w\") as f:\n    f.write(text)", None),
]
SNIPPETS = [  # (requests, code, check of its variables or None)
    (["print Hello World", "print the text Hello World"], "print(\"Hello World\")", "True"), (["print the numbers from 1 to {n}", "print all numbers from 1 to {n} with a loop"], "for i in range(1, {n} + 1):\n    print(i)", "i == {n}"), (["print the even numbers up to {n}"], "for i in range(2, {n} + 1, 2):\n    print(i)", "i % 2 == 0"),
    (["create a list of the squares from 1 to {n}", "make a list with the squares of 1 to {n}"], "squares = [i * i for i in range(1, {n} + 1)]", "squares[-1] == {n} ** 2"), (["sum the numbers from 1 to {n}", "add all numbers from 1 to {n}"], "total = sum(range(1, {n} + 1))\nprint(total)", "total == {n} * ({n} + 1) // 2"), (["sort a list of numbers"], "numbers = [3, 1, 2]\nnumbers.sort()\nprint(numbers)", "numbers == [1, 2, 3]"),
    (["loop over a dictionary and print its keys and values"], "data = {\"a\": 1, \"b\": 2}\nfor key, value in data.items():\n    print(key, value)", "value == 2"), (["ask the user for a name and greet the user"], "name = input(\"What is your name? \")\nprint(f\"Hello, {name}!\")", None), (["count down from {n} to 1"], "for i in range({n}, 0, -1):\n    print(i)", "i == 1"), (["pick a random number from 1 to {n}"], "import random\n\nnumber = random.randint(1, {n})\nprint(number)", "1 <= number <= {n}"),
    (["split a sentence into words"], "sentence = \"the cat sleeps\"\nwords = sentence.split()\nprint(words)", "len(words) == 3"), (["check whether a key is in a dictionary"], "data = {\"a\": 1}\nif \"a\" in data:\n    print(\"found\")", "True"), (["read a JSON file"], "import json\n\nwith open(\"data.json\") as f:\n    data = json.load(f)", None), (["handle a division by zero with try and except"], "try:\n    result = 1 / 0\nexcept ZeroDivisionError:\n    result = None\n    print(\"cannot divide by zero\")", "result is None"),
    (["define a class for a dog with a name and a bark method", "write a class Dog with a name and a method bark"], "class Dog:\n    def __init__(self, name):\n        self.name = name\n\n    def bark(self):\n        return f\"{self.name} says woof\"", "Dog('Rex').bark() == 'Rex says woof'"), (["print today's date"], "from datetime import date\n\nprint(date.today())", "True"), (["measure how long a piece of code takes"], "import time\n\nstart = time.time()\nwork = sum(range(1000))\nprint(time.time() - start)", "True"),
    (["print the multiplication table of {n}"], "for i in range(1, 11):\n    print(i, \"x {n} =\", i * {n})", "i == 10"), (["use a while loop to count from 1 to {n}"], "i = 1\nwhile i <= {n}:\n    print(i)\n    i += 1", "i == {n} + 1"), (["join two lists"], "a = [1, 2]\nb = [3, 4]\nc = a + b", "c == [1, 2, 3, 4]"),
]
ONE_LINE = [("reverse the string s", "s[::-1]"), ("reverse the list xs", "xs[::-1]"), ("get the length of the list xs", "len(xs)"), ("sum the list xs", "sum(xs)"), ("get the largest element of xs", "max(xs)"), ("sort xs in descending order", "sorted(xs, reverse=True)"), ("get the squares of the numbers in xs", "[x * x for x in xs]"), ("keep only the even numbers of xs", "[x for x in xs if x % 2 == 0]"), ("join the words in ws with spaces", "\" \".join(ws)"), ("remove duplicates from xs", "list(set(xs))"),
            ("convert the string s to an integer", "int(s)"), ("make s upper case", "s.upper()"), ("split s at commas", "s.split(\",\")"), ("check whether x is in xs", "x in xs"), ("count the letter a in s", "s.count(\"a\")"), ("get the last element of xs", "xs[-1]"), ("get the first three elements of xs", "xs[:3]"), ("swap a and b", "a, b = b, a"), ("merge the dictionaries a and b", "{**a, **b}"), ("get the average of xs", "sum(xs) / len(xs)")]
OTHER = [(["Write a SQL query that selects all {t} from {c}.", "SQL: select all {t} in {c}"], "```sql\nSELECT * FROM {t} WHERE city = '{c}';\n```"), (["Write a SQL query that counts the {t}.", "How do I count all {t} in SQL?"], "```sql\nSELECT COUNT(*) FROM {t};\n```"), (["Write a SQL query that selects all {t} older than {n}."], "```sql\nSELECT * FROM {t} WHERE age > {n};\n```"), (["Write a SQL query that sorts {t} by name."], "```sql\nSELECT * FROM {t} ORDER BY name;\n```"), (["Write a SQL statement that deletes the {t} with id {n}."], "```sql\nDELETE FROM {t} WHERE id = {n};\n```"),
         (["Write a bash command that lists all files.", "Which shell command lists all files, also hidden ones?"], "```bash\nls -la\n```"), (["Write a bash command that counts the lines of file.txt."], "```bash\nwc -l file.txt\n```"), (["Write a bash command that finds all .{e} files.", "How do I find all .{e} files in the shell?"], "```bash\nfind . -name \"*.{e}\"\n```"), (["Write a bash command that searches for '{w}' in all files."], "```bash\ngrep -r \"{w}\" .\n```"), (["Write a bash command that deletes old.txt."], "```bash\nrm old.txt\n```"), (["Write a bash loop that prints the numbers from 1 to {n}."], "```bash\nfor i in $(seq 1 {n}); do echo $i; done\n```"),
         (["Write a JavaScript function that adds two numbers.", "JavaScript function to add two numbers"], "```javascript\nfunction add(a, b) {{\n  return a + b;\n}}\n```"), (["Write a JavaScript loop that prints 1 to {n}."], "```javascript\nfor (let i = 1; i <= {n}; i++) {{\n  console.log(i);\n}}\n```"), (["Write a JavaScript function that doubles a number."], "```javascript\nfunction double(x) {{\n  return 2 * x;\n}}\n```"),
         (["Write an HTML page with the heading '{w}'.", "Simple HTML page with the title {w}"], "```html\n<!DOCTYPE html>\n<html>\n  <body>\n    <h1>{w}</h1>\n  </body>\n</html>\n```"), (["Write an HTML link to example.com.", "How do I make a link in HTML?"], "```html\n<a href=\"https://example.com\">Example</a>\n```"), (["Write a CSS rule that makes paragraphs {k}.", "CSS: make all paragraphs {k}"], "```css\np {{\n  color: {k};\n}}\n```"), (["Write a C program that prints Hello.", "Hello in C"], "```c\n#include <stdio.h>\n\nint main(void) {{\n    printf(\"Hello\\n\");\n    return 0;\n}}\n```"), (["Write a Rust function that adds two integers."], "```rust\nfn add(a: i32, b: i32) -> i32 {{\n    a + b\n}}\n```")]


def source(entry, name=None):
    what, n, params, body, _ = entry
    return f"def {name or n}({params}):\n    " + body.replace("\n", "\n    ").replace(f"{n}(", f"{name or n}(")


def check():
    """Runs every Python answer that has a check; raises where one is wrong."""
    import contextlib
    import io
    for e in FUNCTIONS:
        space = {}
        exec(source(e), space)
        assert e[4] is None or eval(e[4], {"f": space[e[1]]}), e
    for asks, code, want in SNIPPETS:
        if want is not None:
            space = {}
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code.replace("{n}", "6"), space)
            assert eval(want.replace("{n}", "6"), space), code
    for what, code in ONE_LINE:
        if "=" not in code.replace("==", "").replace("reverse=", ""):
            eval(code, {"s": "12", "xs": [1, 2, 3], "ws": ["a"], "a": {}, "b": {}, "x": 1})


ASK = ["Write a Python function that {w}.", "Write a Python function that {w}.", "Python function that {w}", "Write a function in Python which {w}.", "I need a Python function that {w}.", "Can you write a Python function that {w}?", "Please write a function that {w}, in Python.", "How do I write a Python function that {w}?", "Show me a Python function that {w}.",
       "Write a Python function called {n} that {w}.", "Write a Python function {n}({p}) that {w}.", "Define a function {n} in Python that {w}."]


TABLES = {"books": ("title", "author", "pages", "price"), "products": ("name", "category", "price", "stock"), "students": ("name", "city", "age", "grade"), "orders": ("customer", "country", "amount", "quantity"), "movies": ("title", "director", "year", "length"), "cities": ("name", "country", "population", "area"), "workers": ("name", "department", "age", "wage"), "hotels": ("name", "city", "stars", "rooms"), "cars": ("model", "color", "price", "year")}


def sql(r):
    """A query over one table: columns, a condition, an order or a count."""
    t = r.choice(sorted(TABLES))
    label, group, x, y = TABLES[t]
    n, col = r.choice([3, 10, 18, 50, 100, 500, 1000, 2000, 20000]), r.choice([x, y])
    cols = r.choice([label, label, label, f"{label}, {group}", f"{label}, {col}", "*"])
    what = {label: f"the {label}s", "*": "everything"}.get(cols, "the " + cols.replace(", ", " and the "))
    word, sign = r.choice([("above", ">"), ("over", ">"), ("greater than", ">"), ("of more than", ">"), ("below", "<"), ("under", "<"), ("less than", "<"), ("of at least", ">="), ("of at most", "<=")])
    value = r.choice(["Oslo", "red", "Kenya", "Smith", "science"])
    k = r.random()
    if k < 0.5:
        want, q = f"returns {what} of all {t} with {'an' if col[0] in 'aeiou' else 'a'} {col} {word} {n}", f"SELECT {cols} FROM {t} WHERE {col} {sign} {n};"
    elif k < 0.65:
        want, q = f"returns {what} of all {t} where the {group} is {value}", f"SELECT {cols} FROM {t} WHERE {group} = '{value}';"
    elif k < 0.75:
        want, q = f"lists {what} of all {t}, sorted by {col}{(d := r.choice(['', ' in descending order']))}", f"SELECT {cols} FROM {t} ORDER BY {col}{' DESC' if d else ''};"
    elif k < 0.85:
        want, q = f"counts the {t} with {'an' if col[0] in 'aeiou' else 'a'} {col} {word} {n}", f"SELECT COUNT(*) FROM {t} WHERE {col} {sign} {n};"
    else:
        f, name = r.choice([("AVG", "average"), ("MAX", "highest"), ("MIN", "lowest"), ("SUM", "total")])
        want, q = f"returns the {name} {col} of the {t}", f"SELECT {f}({col}) FROM {t};"
    ask = r.choice(["Write an SQL query that {w}.", "Write a SQL query that {w}.", "SQL query that {w}", "I need an SQL query which {w}.", "Give me a SQL statement that {w}.", "How do I write a query in SQL that {w}?"]).format(w=want)
    if r.random() < 0.5:
        ask += r.choice([f" The table {t} has the columns id, {label}, {group}, {x} and {y}.", f" Columns: {label}, {group}, {x}, {y}.", f" The table is called {t}.", f" My table is called {t}, its columns are {label}, {x} and {y}."])
    return ask, q


def coding(r):
    """One or two requests for code."""
    m = maybe_system(r, 0.3)
    for _ in range(r.choice([1, 1, 2])):
        k = r.random()
        if k < 0.55:
            e = r.choice(FUNCTIONS)
            ask = r.choice(ASK)
            name = r.choice([e[1], e[1], e[1], "my_function", "f", "compute", "helper", "solve"]) if "{n}" in ask else e[1]
            code = source(e, name)
            more = ""
            if r.random() < 0.25:
                more = f"\n\nThe function {e[0]}."
            m += [U(ask.format(w=e[0], n=name, p=e[2])), A(f"```python\n{code}\n```{more}")]
        elif k < 0.67:
            asks, code, _ = r.choice(SNIPPETS)
            n = str(r.choice([3, 5, 8, 10, 12, 20, 50, 100]))
            m += [U(r.choice(["Write Python code to {}.", "How do I {} in Python?", "Python: {}", "Show me how to {} in Python.", "Write a short Python program to {}."]).format(r.choice(asks).replace("{n}", n))), A(f"```python\n{code.replace('{n}', n)}\n```")]
        elif k < 0.86:
            q, a = sql(r)
            m += [U(q), A(f"```sql\n{a}\n```")]
        elif k < 0.91:
            what, code = r.choice(ONE_LINE)
            m += [U(r.choice(["Write a Python expression to {}.", "How do I {} in Python in one line?", "Python one-liner to {}.", "Give me one line of Python to {}."]).format(what)), A(r.choice([f"`{code}`", f"```python\n{code}\n```"]))]
        else:
            asks, answer = r.choice(OTHER)
            v = dict(t=r.choice(["users", "customers", "orders", "employees", "students", "products"]), c=r.choice(["Paris", "Berlin", "Tokyo", "Boston"]), n=r.choice([3, 5, 10, 18, 30, 100]), e=r.choice(["txt", "py", "csv", "log", "md"]), w=r.choice(["Welcome", "error", "Hello", "TODO", "Contact", "My page"]), k=r.choice(["red", "blue", "green", "black"]))
            m += [U(r.choice(asks).format(**v)), A(answer.format(**v))]
    return think(C(m), "A small program. I write it down directly.", r, 0.08)
