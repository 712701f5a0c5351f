"""Random Jinja templates and contexts, from a seed. Mostly well typed, so that most of them render."""

import random

WORDS = ["user", "assistant", "system", "tool", "content", "Hello", "<think>", "</think>", "a b  c", "", " ", "\n", "x\ny\n",
         "é", "Straße", "日本語", "🎉ok", "ΑΣ", "it's", 'say "hi"', "<b>&", "1", "42", "-7", "3.5", "1e3", "0x1f", "true",
         "None", "  padded\t", "a,b,,c", "key: value", "\u00a0nbsp\u2003", "UPPER lower Title", "tab\tsep", "%s-%d", "{}", "{0}",
         "line\r\nend", "\x7f\x01", "ǅ", "ﬁ"]
NAMES = ["messages", "tools", "name", "count", "ratio", "flag", "items", "data", "nothing", "empty", "text", "mixed", "nested",
         "missing_one", "numbers", "words", "pairs"]


def context(rng):
    word = lambda: rng.choice(WORDS)

    def value(depth):
        kind = rng.randrange(9 if depth > 0 else 6)
        if kind == 0:
            return word()
        if kind == 1:
            return rng.choice([0, 1, 2, -1, 7, 100, -13, 2**31, 2**53 + 1, 10**15])
        if kind == 2:
            return rng.choice([0.0, 1.0, -0.5, 3.14159, 1e-7, 1e16, 123456789.125, 2.5, 1e300, 0.1])
        if kind == 3:
            return rng.choice([True, False])
        if kind == 4:
            return None
        if kind == 5:
            return word() + word()
        if kind == 6:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        return {word() or "k": value(depth - 1) for _ in range(rng.randrange(4))}

    def message():
        m = {"role": rng.choice(["user", "assistant", "system", "tool"]), "content": rng.choice([word(), word() + word(), None, ""])}
        if rng.random() < 0.2:
            m["content"] = [{"type": "text", "text": word()}, {"type": "image"}]
        if m["role"] == "assistant" and rng.random() < 0.5:
            m["tool_calls"] = [{"id": "c1", "type": "function", "function": {"name": word(), "arguments": {word(): value(2) for _ in range(2)}}}]
        if rng.random() < 0.3:
            m["reasoning_content"] = word()
        return m

    return {
        "messages": [message() for _ in range(rng.choice([0, 1, 2, 2, 3, 4]))],
        "tools": rng.choice([None, [], [{"type": "function", "function": {"name": "f", "description": word(),
                 "parameters": {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"]}, "B": {"type": "integer", "items": 3}},
                                "required": ["a"]}}}]]),
        "name": word(), "text": word() + " " + word() + word(), "count": rng.choice([0, 1, 3, 5, -2]), "ratio": rng.choice([0.5, 2.0, -1.25, 1e20]),
        "flag": rng.choice([True, False]), "items": [word() for _ in range(rng.randrange(4))],
        "data": {"a": value(1), "b": word(), "items": 1, "Zed": value(0), "zed": 5, "_x": 1}, "nothing": None, "empty": "", "mixed": value(3),
        "nested": {"x": {"y": {"z": value(1)}}, "l": [[1, 2], [3, [4]], []]}, "numbers": [rng.choice([1, 2, 3, 2.5, 10, -4, True]) for _ in range(rng.randrange(5))],
        "words": [rng.choice(["b", "A", "a", "C", "é", "Z", "ß"]) for _ in range(rng.randrange(5))],
        "pairs": [{"k": rng.choice(["x", "X", "y"]), "v": rng.choice([1, 2, 3]), "o": {"p": rng.choice([1, 2])}} for _ in range(rng.randrange(4))],
    }


class Templates:
    def __init__(self, rng):
        self.rng = rng
        self.scopes = [[]]   # (name, type) of the variables in sight
        self.macros = []     # (name, number of parameters)
        self.loops = 0
        self.fresh = 0

    def pick(self, *options):
        return self.rng.choice(options)

    def chance(self, p):
        return self.rng.random() < p

    def literal_text(self):
        s = self.rng.choice(WORDS)
        quote = self.pick("'", '"')
        out = s.replace("\\", "\\\\").replace(quote, "\\" + quote)
        if self.chance(0.5):
            out = out.replace("\n", "\\n").replace("\t", "\\t")
        return quote + out + quote

    # --- expressions -----------------------------------------------------------------------------------------------

    def variable(self, kind):
        local = [n for scope in self.scopes for n, k in scope if k == kind or self.chance(0.05)]
        known = {"text": ["name", "text", "empty", "data.b", "data['b']", "messages[0].role"], "int": ["count", "data.zed", "count", "messages|length"],
                 "real": ["ratio"], "bool": ["flag"], "list": ["messages", "items", "numbers", "words", "pairs", "nested.l", "nested['l'][0]"],
                 "dict": ["data", "nested", "nested.x", "messages[0]", "pairs[0]"], "none": ["nothing"],
                 "any": ["mixed", "missing_one", "nested.x.y.z", "data.a", "messages[-1].content", "data.nope", "tools", "messages[0].tool_calls", "data['items']", "data.items", "nothing", "words[7]", "data._x"]}
        if local and self.chance(0.6):
            return self.rng.choice(local)
        return self.rng.choice(known[kind])

    def expr(self, kind, depth):
        if self.chance(0.01):
            kind = self.pick("text", "int", "real", "bool", "list", "dict", "any", "none")
        e = getattr(self, kind)(depth)
        if depth > 0 and self.chance(0.06):
            e = f"(({e}) if ({self.expr('bool', depth - 1)}) else {self.expr(kind, depth - 1)})"
        if self.chance(0.05):
            e = f"({e})"
        return e

    def any(self, d):
        if d <= 0:
            return self.variable("any")
        r = self.rng.randrange(9)
        if r == 0:
            return f"{self.expr('dict', d - 1)}.{self.pick('a', 'b', 'role', 'content', 'nope', 'items', 'keys', 'x')}" if self.chance(.5) else f"({self.expr('dict', d - 1)}).get({self.literal_text()})"
        if r == 1:
            return f"{self.prim('list', d - 1)}[{self.expr('int', d - 1)}]"
        if r == 2:
            return f"{self.prim('list', d - 1)}|{self.pick('first', 'last', 'min', 'max', 'sum', 'random_is_absent' if self.chance(.02) else 'first')}"
        if r == 3:
            return f"{self.variable('any')}|default({self.expr(self.pick('text', 'int', 'list'), d - 1)}{self.pick('', ', true', ', boolean=True')})"
        if r == 4:
            return f"{self.prim('dict', d - 1)}[{self.expr('text', d - 1)}]"
        if r == 5:
            return f"({self.expr('any', d - 1)} {self.pick('or', 'and')} {self.expr('any', d - 1)})"
        if r == 6 and self.loops:
            return "loop." + self.pick("previtem", "nextitem", "index", "index0", "first", "last", "length", "revindex", "revindex0", "depth", "nope",
                                       "cycle('a', 'b')", "cycle(1,2,3)", "changed(count)", "changed(loop.index // 2)")
        if r == 7:
            return f"(({self.expr('text', d - 1)}) if ({self.expr('bool', d - 1)}))"
        return self.expr(self.pick("text", "int", "real", "bool", "list", "dict", "none"), d - 1)

    def prim(self, kind, d):
        e = self.expr(kind, d)
        return e if e.replace("_", "").isalnum() else f"({e})"

    def text(self, d):
        if d <= 0:
            return self.literal_text() if self.chance(0.5) else self.variable("text")
        t = lambda: self.expr("text", d - 1)
        p = lambda: self.prim("text", d - 1)
        i = lambda: str(self.rng.choice([0, 1, 2, 3, -1, 7]))
        options = [
            lambda: f"{t()} ~ {self.expr('any', d - 1)}", lambda: f"{p()} + {p()}", lambda: f"{p()} * {self.pick('0', '2', '3', 'count')}",
            lambda: f"{p()}.{self.pick('upper', 'lower', 'title', 'capitalize', 'strip', 'lstrip', 'rstrip', 'swapcase', 'casefold')}()",
            lambda: f"{p()}.{self.pick('strip', 'lstrip', 'rstrip')}({self.literal_text()})",
            lambda: f"{p()}.replace({self.literal_text()}, {self.literal_text()}{self.pick('', ', 1', ', 2')})",
            lambda: f"{p()}[{self.pick(i(), i() + ':', ':' + i(), i() + ':' + i(), '::-1', '::2', i() + '::-2', '-3:', ':-1')}]",
            lambda: f"{p()}.split({self.pick('', self.literal_text(), 'None, 1', self.literal_text() + ', 1')})[{i()}]",
            lambda: f"{p()}.{self.pick('center', 'ljust', 'rjust')}({i()}{self.pick('', ', ' + repr('*'))})", lambda: f"{p()}.zfill({i()})",
            lambda: f"{p()}.partition({self.literal_text()})[{self.pick(0, 1, 2)}]", lambda: f"{p()}.{self.pick('removeprefix', 'removesuffix')}({self.literal_text()})",
            lambda: f"{p()}|{self.pick('upper', 'lower', 'title', 'capitalize', 'trim', 'e', 'escape', 'safe', 'string', 'reverse', 'forceescape', 'urlencode')}",
            lambda: f"{self.prim('any', d - 1)}|{self.pick('string', 'trim', 'upper', 'safe', 'tojson', 'title')}",
            lambda: f"{self.prim(self.pick('dict', 'list', 'any'), d - 1)}|tojson{self.pick('', '(indent=2)', '(indent=0)', '(ensure_ascii=true)', '(sort_keys=true)', '(true, 1)', '(separators=(%r, %r))' % (',', ':'))}",
            lambda: f"{self.prim('list', d - 1)}|join{self.pick('', '(%s)' % self.literal_text(), '(d=%s)' % self.literal_text())}",
            lambda: f"pairs|join({self.literal_text()}, attribute={self.pick('k', 'v', 'o.p', 'nope')!r})", lambda: f"{self.literal_text()}.join({self.prim('list', d - 1)})",
            lambda: f"{p()}|replace({self.literal_text()}, {self.expr('any', d - 1)}{self.pick('', ', 1')})",
            lambda: f"{p()}|indent{self.pick('', '(2)', '(2, true)', '(width=1, first=true, blank=true)', '(%s)' % self.literal_text())}",
            lambda: f"{p()}|truncate({self.pick('5', '8, true', '6, false, ' + repr('..') + ', 0', '9, leeway=0')})", lambda: f"{p()}|center({self.pick(5, 9, 20)})",
            lambda: f"{self.pick('%s', '%r', '%5s|', '%-5s|', '%.2s', '%d', '%05d', '%x', '%+.2f', '%e', '%g', '%%', '%s %s', '%(a)s', '%c', '%i')!r} % {self.pick(self.prim('any', d - 1), '(%s,)' % self.expr('any', d - 1), '(%s, %s)' % (self.expr('int', d - 1), self.expr('any', d - 1)), 'count', 'ratio', 'data')}",
            lambda: f"{self.pick('{}', '{0}{1}', '{!r}', '{:>6}', '{:<6}|', '{:^7}|', '{:05d}', '{:,}', '{:.2f}', '{:x}', '{a}', '{0[b]}', '{0.role}', '{{}}', '{:{}}', '{:*^9}', '{:+}', '{:%}', '{:e}', '{:g}', '{:.3}')!r}.format({self.expr('any', d - 1)}, {self.expr('any', d - 1)}{self.pick('', ', a=' + self.expr('any', d - 1))})",
            lambda: f"{self.pick('%s', '%d-%s', '%(x)s')!r}|format({self.pick(self.expr('any', d - 1), self.expr('int', d - 1) + ', ' + self.expr('text', d - 1), 'x=' + self.expr('any', d - 1))})",
            lambda: f"{p()}|trim({self.literal_text()})", lambda: f"{p()}.expandtabs({self.pick('', '4', '1')})", lambda: f"data|xmlattr",
        ]
        if self.macros and self.chance(0.3):
            return self.call(d)
        return self.rng.choice(options)()

    def call(self, d):
        name, n = self.rng.choice(self.macros)
        k = self.rng.randrange(n + 1) if self.chance(0.9) else n + 1
        args = [self.expr(self.pick("text", "int", "any"), d - 1) for _ in range(k)]
        if self.chance(0.3):
            args.append(f"{self.pick('p0', 'p1', 'extra', 'p' + str(max(n - 1, 0)))}={self.expr('any', d - 1)}")
        if self.chance(0.05):
            args.append("*" + self.prim("list", 0))
        if self.chance(0.05):
            args.append("**" + self.prim("dict", 0))
        return f"{name}({', '.join(args)})"

    def int(self, d):
        if d <= 0:
            return str(self.rng.choice([0, 1, 2, 3, 5, 10, -1])) if self.chance(0.6) else self.variable("int")
        n = lambda: self.prim("int", d - 1)
        options = [lambda: f"{n()} {self.pick('+', '-', '*', '//', '%')} {n()}", lambda: f"{n()} ** {self.pick(0, 1, 2, 3)}", lambda: f"-{n()}", lambda: f"+{n()}",
                   lambda: f"{self.prim(self.pick('text', 'list', 'dict'), d - 1)}|{self.pick('length', 'count')}", lambda: f"{self.prim('any', d - 1)}|int{self.pick('', '(7)', '(default=-1)', '(0, 16)', '(base=2)')}",
                   lambda: f"{self.prim('text', d - 1)}.{self.pick('find', 'rfind', 'count', 'find', 'index' if self.chance(.2) else 'rfind')}({self.literal_text()}{self.pick('', ', 1', ', 1, 3', ', -2')})", lambda: f"{n()}|abs", lambda: f"{self.prim('text', d - 1)}|wordcount",
                   lambda: f"{self.prim('list', d - 1)}.{self.pick('count', 'count', 'count', 'index' if self.chance(.3) else 'count')}({self.expr('any', d - 1)})", lambda: f"numbers|sum", lambda: f"pairs|sum(attribute='v'{self.pick('', ', start=5')})",
                   lambda: f"{n()}|round", lambda: f"{n()}|round(-1)"]
        return self.rng.choice(options)()

    def real(self, d):
        if d <= 0:
            return self.pick("0.5", "2.0", "1e3", "1.25e-7", "3.", "ratio") if self.chance(0.02) else self.pick("0.5", "2.0", "1e3", "1.25e-7", "ratio", "10.0")
        n = lambda: self.prim(self.pick("real", "int"), d - 1)
        return self.rng.choice([lambda: f"{n()} {self.pick('+', '-', '*', '/', '//', '%')} {self.prim('real', d - 1)}", lambda: f"{n()} / {n()}", lambda: f"{self.prim('any', d - 1)}|float{self.pick('', '(1.5)')}",
                                lambda: f"{n()}|round({self.pick('', '1', '2', '0, %r' % 'ceil', '1, %r' % 'floor', '-1', 'precision=3')})", lambda: f"-{n()}", lambda: f"{n()}|abs", lambda: f"{n()} ** {self.pick('2', '0.5', '-1')}"])()

    def bool(self, d):
        if d <= 0:
            return self.pick("true", "false", "flag", "True", "False", "flag")
        a = lambda: self.prim(self.pick("any", "text", "int", "real", "list", "dict"), d - 1)
        options = [lambda: f"{a()} {self.pick('==', '!=')} {a()}", lambda: f"{self.prim('int', d - 1)} {self.pick('<', '<=', '>', '>=')} {self.prim(self.pick('int', 'real'), d - 1)}", lambda: f"{self.prim('text', d - 1)} {self.pick('<', '>=')} {self.prim('text', d - 1)}",
                   lambda: f"{self.prim('text', d - 1)} {self.pick('in', 'not in')} {self.prim(self.pick('text', 'list', 'dict'), d - 1)}", lambda: f"{a()} in {self.prim('list', d - 1)}",
                   lambda: f"not {self.prim('bool', d - 1)}", lambda: f"({self.expr('bool', d - 1)} {self.pick('and', 'or')} {self.expr('bool', d - 1)})", lambda: f"1 < {self.prim('int', d - 1)} <= {self.prim('int', d - 1)} != 3",
                   lambda: f"{a()} is {self.pick('', 'not ')}{self.pick('defined', 'undefined', 'none', 'string', 'mapping', 'sequence', 'iterable', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'callable', 'escaped', 'lower', 'upper', 'odd', 'even')}",
                   lambda: f"{self.variable('any')} is {self.pick('', 'not ')}{self.pick('defined', 'undefined', 'none', 'string', 'mapping')}",
                   lambda: f"{self.prim('int', d - 1)} is {self.pick('odd', 'even', 'divisibleby 2', 'divisibleby(3)', 'eq 1', 'ne(2)', 'gt 0', 'lessthan 5', 'ge 1', 'sameas 1', 'in [1, 2]')}",
                   lambda: f"{self.prim('text', d - 1)}.{self.pick('startswith', 'endswith')}({self.pick(self.literal_text(), '(%s, %s)' % (self.literal_text(), self.literal_text()), self.literal_text() + ', 1')})",
                   lambda: f"{self.prim('text', d - 1)}.{self.pick('isdigit', 'isalpha', 'isalnum', 'isspace', 'islower', 'isupper', 'istitle', 'isnumeric', 'isdecimal', 'isidentifier', 'isprintable', 'isascii')}()",
                   lambda: f"{self.literal_text()} is {self.pick('filter', 'test')}", lambda: "'upper' is filter"]
        return self.rng.choice(options)()

    def list(self, d):
        if d <= 0:
            return self.variable("list") if self.chance(0.7) else self.pick("[]", "[1, 2, 3]", "['a', 'B', 'c']", "()", "(1,)", "range(4)", "range(5, 0, -2)")
        v = lambda: self.prim("list", d - 1)
        i = lambda: str(self.rng.choice([0, 1, 2, -1, -2, 5]))
        sub = lambda: self.pick("'upper'", "'string'", "attribute='k'", "attribute='o.p'", "attribute='nope', default='D'", "'default', 'x'", "'int'", "'length'", "attribute=0", "'tojson'", "'replace', 'a', 'b'", "'trim'")
        options = [lambda: "[" + ", ".join(self.expr(self.pick("any", "text", "int"), d - 1) for _ in range(self.rng.randrange(4))) + "]",
                   lambda: "(" + ", ".join(self.expr("any", d - 1) for _ in range(2)) + ")", lambda: f"{v()} + {v()}", lambda: f"{v()}[{self.pick(i() + ':', ':' + i(), '::-1', i() + ':' + i(), '::2', '-1::-1')}]",
                   lambda: f"{v()}|{self.pick('list', 'sort', 'sort(reverse=true)', 'reverse', 'unique', 'reverse|list', 'unique|list', 'sort(case_sensitive=true)')}", lambda: f"words|{self.pick('sort', 'unique|list', 'sort(true, true)', 'map(%r)|list' % 'upper', 'min', 'max')}",
                   lambda: f"numbers|{self.pick('sort', 'sort(true)', 'select(%r)|list' % 'odd', 'reject(%r, 2)|list' % 'gt', 'unique|list', 'map(%r)|list' % 'abs', 'batch(2)|list', 'slice(2)|list', 'batch(3, 0)|list', 'slice(3, 0)|list')}",
                   lambda: f"{v()}|map({sub()})|list", lambda: f"pairs|{self.pick('selectattr', 'rejectattr')}({self.pick(repr('k'), repr('v') + ', ' + repr('gt') + ', 1', repr('k') + ', ' + repr('equalto') + ', ' + repr('x'), repr('o.p') + ', ' + repr('=='), repr('nope') + ', ' + repr('defined'), repr('v') + ', ' + repr('in') + ', [1, 2]')})|list",
                   lambda: f"pairs|groupby({self.pick(repr('k'), repr('v'), repr('o.p'), repr('k') + ', case_sensitive=true', repr('nope') + ', default=1')})", lambda: f"pairs|sort(attribute={self.pick('k', 'v', 'k,v', 'o.p', 'v,k')!r}{self.pick('', ', reverse=true')})", lambda: f"pairs|map(attribute={self.pick('k', 'v', 'nope')!r})|{self.pick('list', 'unique|list', 'sort', 'first', 'join')}",
                   lambda: f"{self.prim('dict', d - 1)}|{self.pick('dictsort', 'items|list', 'list', 'dictsort(true)', 'dictsort(by=%r)' % 'value', 'dictsort(reverse=true)')}", lambda: f"{self.prim('dict', d - 1)}.{self.pick('keys', 'values', 'items')}(){self.pick('', '|list')}",
                   lambda: f"{self.prim('text', d - 1)}|list", lambda: f"{self.prim('text', d - 1)}.{self.pick('split()', 'splitlines()', 'splitlines(true)', 'rsplit(%s, 1)' % self.literal_text(), 'split(%s)' % self.literal_text(), 'rsplit(None, 1)', 'partition(%r)' % ' ')}",
                   lambda: f"range({self.pick('count', '3', '1, 4', '5, 1, -2', 'count, 6')}){self.pick('', '|list')}", lambda: f"{v()} * {self.pick(0, 2)}", lambda: f"{v()}|{self.pick('select', 'reject')}{self.pick('', '(%r)' % 'string', '(%r)' % 'defined', '(%r)' % 'number', '(%r)' % 'none')}|list", lambda: f"{v()}|batch(2)|list",
                   lambda: f"messages|selectattr('role', 'equalto', {self.pick('user', 'system')!r})|list", lambda: f"messages|map(attribute='content')|list", lambda: f"{v()}|select('in', {v()})|list"]
        return self.rng.choice(options)()

    def dict(self, d):
        if d <= 0:
            return self.variable("dict") if self.chance(0.7) else self.pick("{}", "{'a': 1}", "{1: 'x', true: 'y', 2.0: none}", "{'b': [1], 'A': {}}")
        return self.rng.choice([lambda: "{" + ", ".join(f"{self.literal_text()}: {self.expr('any', d - 1)}" for _ in range(self.rng.randrange(4))) + "}",
                                lambda: f"dict({self.pick('', 'a=1', 'data', 'data, b=2', '[[1, 2], (3, 4)]', '**data')})", lambda: "dict(%s)" % self.prim("dict", d - 1), lambda: self.variable("dict"), lambda: f"{self.prim('dict', d - 1)}.copy()", lambda: "dict.fromkeys(words, 0)"])()

    def none(self, d):
        return self.pick("none", "None", "nothing")

    # --- statements ------------------------------------------------------------------------------------------------

    def tag(self, body):
        return "{%" + self.pick("", "", "-", "+") + " " + body + " " + self.pick("", "", "", "-", "+") + "%}"

    def output(self, e):
        return "{{" + self.pick("", "", "-", "+" if self.chance(.2) else "") + " " + e + " " + self.pick("", "", "-") + "}}"

    def data(self):
        return self.pick("", " ", "\n", "  \n", "text", "\n    ", "a\n\tb ", "<|im_start|>", "\n\n", "x", "{ ", " }", "% }", "\r\n", "é ")

    def name(self):
        self.fresh += 1
        return self.pick("v", "w", "text", "count", "z") if self.chance(0.4) else f"v{self.fresh}"

    def body(self, depth):
        self.scopes.append([])
        out = "".join(self.statement(depth) for _ in range(self.rng.randrange(1, 4)))
        self.scopes.pop()
        return out

    def statement(self, depth):
        out = self.data()
        r = self.rng.random()
        d = self.rng.randrange(4)
        if depth <= 0 or r < 0.35:
            return out + self.output(self.expr(self.pick("text", "int", "real", "bool", "list", "dict", "any", "any", "none"), d)) + self.data()
        if r < 0.47:
            s = self.tag("if " + self.expr("bool", d)) + self.body(depth - 1)
            for _ in range(self.rng.randrange(2)):
                s += self.tag("elif " + self.expr(self.pick("bool", "any"), d)) + self.body(depth - 1)
            if self.chance(0.5):
                s += self.tag("else") + self.body(depth - 1)
            return out + s + self.tag("endif") + self.data()
        if r < 0.62:
            return out + self.loop(depth, d) + self.data()
        if r < 0.74:
            n, kind = self.name(), self.pick("text", "int", "list", "any", "dict", "bool")
            e = self.expr(kind, d)
            if self.chance(0.1):
                m = self.name()
                s = self.tag(f"set {n}, {m} = {e}, {self.expr('any', d)}")
            elif self.chance(0.15):
                s = self.tag(f"set {n}{self.pick('', ' | upper', ' | trim', ' | replace(%r, %r) | trim' % ('a', 'b'))}") + self.body(depth - 1) + self.tag("endset")
                kind = "text"
            else:
                s = self.tag(f"set {n} = {e}")
            self.scopes[-1].append((n, kind))
            return out + s + self.data()
        if r < 0.80:
            k = self.rng.randrange(4)
            name = self.pick("m", "fmt", "render")
            params = [f"p{i}" + (f"={self.expr('any', 1)}" if i >= 1 and k > 1 else "") for i in range(k)]
            self.scopes.append([(f"p{i}", "any") for i in range(k)])
            loops, self.loops = self.loops, 0
            inside = self.body(depth - 1) + self.pick("", "", "{{ caller() }}" if self.chance(.3) else "", "{{ kwargs }}", "{{ varargs }}", "{{ caller is defined }}")
            if self.chance(0.1) and k:
                inside += "{% if p0 is number and p0 > 0 %}{{ " + name + "(p0 - 1) }}{% endif %}"
            self.loops = loops
            self.scopes.pop()
            self.macros.append((name, k))
            return out + self.tag(f"macro {name}({', '.join(params)})") + inside + self.tag("endmacro") + self.data()
        if r < 0.84 and self.macros:
            s = self.tag(f"call{self.pick('', '', '(q)')} {self.call(1)}") + self.body(depth - 1) + self.tag("endcall")
            return out + s
        if r < 0.87:
            f = self.pick("upper", "trim", "replace('a', 'é')", "indent(2)", "title", "length", "upper|trim", "e")
            return out + self.tag("filter " + f) + self.body(depth - 1) + self.tag("endfilter")
        if r < 0.90:
            n = self.name()
            self.scopes.append([(n, "any")])
            s = self.tag(f"with {n} = {self.expr('any', d)}{self.pick('', ', w = ' + self.expr('text', 1))}") + self.body(depth - 1) + self.tag("endwith")
            self.scopes.pop()
            return out + s
        if r < 0.94:
            if not any(("ns", "ns") in s for s in self.scopes):
                self.scopes[0].append(("ns", "ns"))
                return out + self.tag(f"set ns = namespace({self.pick('', 'a=1', 'found=false, a=' + self.literal_text(), 'data' if self.chance(.1) else 'b=2')})")
            return out + self.tag(f"set ns.{self.pick('a', 'found', 'list', '_bad' if self.chance(.01) else 'a')} = {self.pick('(ns.a|default(0, true)|string) ~ 1', self.expr('any', d), 'ns.list|default([], true) + [1]')}") + self.pick("", "{{ ns.a }}", "{{ ns.found }}{{ ns.nope }}", "{{ ns }}")
        if r < 0.96:
            return out + self.pick("{# a comment #}", "{#- c -#}", "{# multi\nline #}\n", "{% raw %}{{ x }} {% if %}{% endraw %}", "  {%- raw -%} a {{ {%- endraw -%} b", "\n  {% raw %}\n {% endraw %}\n")
        if r < 0.98:
            return out + self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration")
        if self.loops:
            return out + self.pick("{% if loop is defined and loop.index > 1 %}{% break %}{% endif %}", "{% continue %}", "{% if flag %}{% continue %}{% endif %}")
        return out + self.tag("print " + self.expr("any", d))

    def loop(self, depth, d):
        target, kind = self.pick(("m", "dict"), ("x", "any"), ("i", "int"), ("ch", "text"), ("k, v", "text"))
        source = {"m": self.pick("messages", "messages[1:]", "messages[::-1]", "pairs", "tools", "messages|selectattr('content')"), "x": self.expr(self.pick("list", "list", "list", "list", "list", "list", "any"), d),
                  "i": self.pick("range(3)", "numbers", "range(count)", "[3, 1, 2]"), "ch": self.pick("name", "words", "'aé'", "items"),
                  "k, v": self.pick("data.items()", "nested|items", "data|dictsort", "[[1, 2], [3, 4]]", "pairs|groupby('k')", "dict(a=1).items()")}[target]
        test = ""
        self.scopes.append([(t, kind) for t in target.split(", ")])
        if self.chance(0.2):
            test = " if " + self.expr("bool", d)
        self.loops += 1
        inside = self.body(depth - 1)
        if self.chance(0.4):
            inside += self.output("loop." + self.pick("index", "last", "first", "length", "nextitem", "previtem", "revindex", "cycle('a','b')", "changed(1)"))
        self.loops -= 1
        self.scopes.pop()
        s = self.tag(f"for {target} in {source}{test}") + inside
        if self.chance(0.2):
            s += self.tag("else") + self.body(depth - 1)
        return s + self.tag("endfor")

    def template(self):
        return "".join(self.statement(3) for _ in range(self.rng.randrange(1, 6)))


def template(rng):
    return Templates(rng).template()


def damaged(rng, source):
    """The same with a few bytes changed: most no longer parse, and both sides must agree on it."""
    s = list(source)
    for _ in range(rng.randrange(1, 3)):
        if not s:
            break
        at = rng.randrange(len(s))
        r = rng.randrange(4)
        if r == 0:
            del s[at]
        elif r == 1:
            s.insert(at, rng.choice("{}%-'\"()[]|.,=~ \nab1"))
        elif r == 2:
            s[at] = rng.choice("{}%-'\"()[]|.,=~ \nab1")
        else:
            del s[at: at + rng.randrange(6)]
    return "".join(s)
