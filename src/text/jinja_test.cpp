#include "text/jinja.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace nibble::text {
namespace {

Result<std::string> render(std::string_view source, std::string_view context = "{}",
                           const TemplateLimits& limits = {}) {
    auto parsed = Template::parse(source, "t", limits);
    if (!parsed) return parsed.error();
    return parsed->render(*parse_json(context), limits);
}

std::string text(std::string_view source, std::string_view context = "{}") {
    auto out = render(source, context);
    return out ? *out : "error: " + out.error().message;
}

struct Case {
    std::string_view source, expected, context = "{}";
};

void check(const std::vector<Case>& cases) {
    for (const Case& c : cases) EXPECT_EQ(text(c.source, c.context), c.expected) << c.source;
}

// A whole program on a thread with a small stack, as connections have it.
void on_small_stack(const std::function<void()>& body) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
#if defined(__SANITIZE_ADDRESS__)
    pthread_attr_setstacksize(&attributes, 8 << 20);
#else
    pthread_attr_setstacksize(&attributes, 256 << 10);
#endif
    pthread_t thread;
    auto run = [](void* f) -> void* {
        (*static_cast<const std::function<void()>*>(f))();
        return nullptr;
    };
    ASSERT_EQ(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&body)), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
}

std::string repeat(std::string_view piece, size_t times) {
    std::string out;
    for (size_t i = 0; i < times; i++) out += piece;
    return out;
}

TEST(Jinja, WhiteSpaceIsTrimmedAsHuggingFaceDoes) {
    check({
        {"a\n{% if true %}\nb\n{% endif %}\nc\n", "a\nb\nc"},
        {"  {% if true %}  x  {% endif %}  y", "  x    y"},
        {"a\n   {% if true -%}\n   b\n   {%- endif %}\nc", "a\nbc"},
        {"a\n   {%+ if true %}b{% endif +%}\nc", "a\n   b\nc"},
        {"a {{- ' b ' -}} c", "a b c"},
        {"a\n{# note #}\nb{#- x -#} c", "a\nbc"},
        {"{% raw %}{{ x }}{% y %}{% endraw %}", "{{ x }}{% y %}"},
        {"x\n  {% raw %}\n a\n  {% endraw %}\ny", "x\n\n a\ny"},
        {"a\r\nb\r{{ '\\r' }}", "a\nb\n\r"},
    });
}

TEST(Jinja, ValuesAreWrittenAsPythonWritesThem) {
    check({
        {"{{ none }} {{ true }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 123456.789 }} {{ -0.0 }}",
         "None True 1.0 1e+16 1e-05 123456.789 -0.0"},
        {"{{ ['a', \"it's\", 1, none, {'k': (1,)}] }}", "['a', \"it's\", 1, None, {'k': (1,)}]"},
        {"{{ ['\\n\\t\\\\', '\\x07é\\u200b'] }}", "['\\n\\t\\\\', '\\x07é\\u200b']"},
        {"{{ x }}{{ x.y is defined }}", "{}False", R"({"x": {}})"},
        {"{{ missing }}{{ [missing] }}", "[Undefined]"},
        {"{{ {'a': 1}.items() }} {{ range(3) }} {{ {}.keys() }}", "dict_items([('a', 1)]) range(0, 3) dict_keys([])"},
    });
}

TEST(Jinja, ArithmeticIsPythons) {
    check({
        {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }}",
         "3 -4 2 -2 3.5 1024 0.5 3.0"},
        {"{{ 'a' ~ 2 * 3 ~ -1 }}", "a6-1"},
    });
    EXPECT_EQ(text("{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}"), "64 4");  // Jinja's own reading
    EXPECT_EQ(text("{{ 'ab' * 2 ~ [1] * 2 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }}"),
              "abab[1, 1] True False True True");
    for (std::string_view bad : {"{{ 1 / 0 }}", "{{ 1 + 'a' }}", "{{ 9223372036854775807 + 1 }}", "{{ none < 1 }}",
                                 "{{ missing + 1 }}", "{{ -'a' }}"})
        EXPECT_FALSE(render(bad)) << bad;
}

TEST(Jinja, ScopesAreThoseOfJinja2) {
    check({
        {"{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}", "21"},
        {"{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "1"},
        {"{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"},
        {"{% for i in [1, 2] %}{{ x }}{% set x = i %}{{ x }}{% endfor %}", "9192", R"({"x": 9})"},
        {"{% macro m() %}{{ x }}{% endmacro %}{% set x = 3 %}{{ m() }}", "3"},
        {"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3"},
        {"{% set x %}a{{ 1 }}{% endset %}[{{ x }}]", "[a1]"},
        {"{% set a, (b, c) = 1, [2, 3] %}{{ a }}{{ b }}{{ c }}", "123"},
        {"{% generation %}{% set y = 1 %}{{ y }}{% endgeneration %}{{ y }}", "1"},
        {"{% filter upper %}a{% set q = 1 %}{% endfilter %}{{ q }}", "A"},
    });
}

TEST(Jinja, LoopsKnowWhereTheyAre) {
    check({
        {"{% for x in 'abc' %}{{ loop.index }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ "
         "loop.nextitem }}{{ loop.cycle('x', 'y') }} {% endfor %}",
         "12TrueFalsebx 21FalseFalseacy 30FalseTruebx "},
        {"{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "TrueFalseTrue"},
        {"{% for x in [1, 2, 3, 4] if x % 2 == 0 %}{{ x }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}",
         "2/2,4/2"},
        {"{% for x in [] %}a{% else %}none{% endfor %}", "none"},
        {"{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% if x == 3 %}{% break %}{% endif "
         "%}{% endfor %}",
         "13"},
        {"{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"},
        {"{% set ns = namespace(done=false) %}{% for x in [1, 2, 3] if not ns.done %}{{ x }}{% if x == 2 %}{% set "
         "ns.done = true %}{% endif %}{% endfor %}",
         "12"},
        {"{% for x in [3, 1] %}{% for y in [x] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "1112"},
    });
}

TEST(Jinja, MacrosTakeArgumentsAsJinja2Does) {
    check({
        {"{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }} {{ m(1, 3, 4, c=5) }}",
         "12(){} 13(4,){'c': 5}"},
        {"{% macro fact(n) %}{{ 1 if n < 2 else n * fact(n - 1) | int }}{% endmacro %}{{ fact(5) }}", "120"},
        {"{% macro box() %}<{{ caller('x') }}>{% endmacro %}{% call(a) box() %}{{ a }}y{% endcall %}", "<xy>"},
        {"{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}", "False"},
    });
    EXPECT_FALSE(render("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}"));
    EXPECT_FALSE(render("{% macro m(a) %}{% endmacro %}{{ m(b=2) }}"));
}

TEST(Jinja, FiltersAndTests) {
    check({
        {"{{ [3, 1, 2] | sort | join(',') }} {{ ['b', 'A'] | sort }} {{ {'b': 1, 'A': 2} | dictsort }}",
         "1,2,3 ['A', 'b'] [('A', 2), ('b', 1)]"},
        {"{{ m | selectattr('r', 'equalto', 'u') | map(attribute='c') | list }}", "[1, 3]",
         R"({"m": [{"r": "u", "c": 1}, {"r": "a", "c": 2}, {"r": "u", "c": 3}]})"},
        {"{{ d | tojson }} {{ d | tojson(indent=2) }} {{ d | tojson(separators=(',', ':')) }}",
         "{\"é\": [1, null]} {\n  \"é\": [\n    1,\n    null\n  ]\n} {\"é\":[1,null]}", R"({"d": {"é": [1, null]}})"},
        {"{{ 'é' | tojson(ensure_ascii=true) }} {{ '<&>' | tojson }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}",
         "\"\\u00e9\" \"<&>\" {\"a\": 2, \"b\": 1}"},
        {"{{ none | default('x') }} {{ none | default('x', true) }} {{ q | default('y') }} {{ '' | d('z', true) }}",
         "None x y z"},
        {"{{ '  a ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 'hello world' | title }}|{{ 'a\nb' | indent(2) }}",
         "a|a|Hello World|a\n  b"},
        {"{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ range(5) | slice(2) | list }}",
         "[[1, 2], [3, 4], [5]] [[0, 1, 2], [3, 4]]"},
        {"{{ '42.9' | int }} {{ 'x' | int(7) }} {{ '0x1f' | int(0, 16) }} {{ 2.5 | round }} {{ 3.14159 | round(2) }} "
         "{{ 7.1 | round(0, 'ceil') }}",
         "42 7 31 2.0 3.14 8.0"},
        {"{{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }} {{ 3 is odd }} {{ x is none }} {{ 1 is sameas 1 "
         "}} {{ 'a' in ['a'] }} {{ 2 is divisibleby 2 }}",
         "True True True True False True True True"},
        {"{{ ('<b>' | escape) + '<i>' }} {{ ('<b>' | safe) ~ '<i>' }}", "&lt;b&gt;&lt;i&gt; <b><i>"},
        {"{{ '%s is %05.1f' | format('x', 3.14159) }} {{ '%d%%' % 5 }} {{ '{:>4}|{!r}|{a[0]}'.format(1, 'x', a=[9]) }}",
         "x is 003.1 5%    1|'x'|9"},
        {"{{ x | groupby('k') | map(attribute='list') | map('length') | list }}", "[2, 1]",
         R"({"x": [{"k": 1}, {"k": 2}, {"k": 1}]})"},
    });
}

TEST(Jinja, MethodsOfTextAndSlices) {
    check({
        {"{{ 'a,b,c'.split(',') }} {{ 'a b  c'.split() }} {{ 'a-b-c'.rsplit('-', 1) }} {{ 'x\ny'.splitlines() }}",
         "['a', 'b', 'c'] ['a', 'b', 'c'] ['a-b', 'c'] ['x', 'y']"},
        {"{{ 'äbc'[0] }}{{ 'äbc'[-1] }}{{ 'äbc'[::-1] }}{{ 'äbc'[1:] }} {{ [1, 2, 3][::-1] }} {{ 'äbc' | length }}",
         "äccbäbc [3, 2, 1] 3"},
        {"{{ 'abc'.startswith(('x', 'a')) }} {{ ' x'.lstrip() }} {{ 'Straße'.upper() }} {{ 'ΑΣ'.lower() }} {{ "
         "'a'.replace('a', 'b') }}",
         "True x STRASSE ας b"},
        {"{{ {'a': 1}.get('b', 2) }} {{ x['items'] }} {{ x.items is callable }} {{ [1, 2].index(2) }}", "2 5 True 1",
         R"({"x": {"items": 5}})"},
    });
}

TEST(Jinja, UndefinedIsEmptyUntilItIsUsed) {
    check(
        {{"{{ a }}|{{ (a.b is defined) if a else 'no' }}|{{ d.x }}|{% for i in a %}{% endfor %}|{{ a | length }}|{{ a "
          "== "
          "b }}",
          "|no|||0|True", R"({"d": {}})"}});
    EXPECT_EQ(text("\n{{ a.b }}"), "error: t:2: 'a' is undefined");
    EXPECT_EQ(text("{{ d.x.y }}", R"({"d": {}})"), "error: t:1: 'dict' object has no attribute 'x'");
}

TEST(Jinja, TheSandboxHolds) {
    for (std::string_view source : {"{{ [].append(1) }}", "{{ {}.update({}) }}", "{{ x.pop() }}",
                                    "{% set ns = namespace() %}{% set ns._a = 1 %}", "{{ ''.__class__.__mro__ }}",
                                    "{{ cycler.__init__.__globals__ }}", "{{ '{0.__class__.__name__}'.format(1) }}"})
        EXPECT_FALSE(render(source, R"({"x": [1]})")) << source;
}

TEST(Jinja, MistakesAreRefusedWhenTheTemplateIsRead) {
    for (std::string_view source : {"{{ x | nofilter }}",
                                    "{{ x is notest }}",
                                    "{% if %}{% endif %}",
                                    "{% endif %}",
                                    "{{ x",
                                    "{% for x in y %}",
                                    "{% nosuch %}",
                                    "{{ (1, }}",
                                    "{# x",
                                    "{% raw %}",
                                    "{% break %}",
                                    "{% set 1 = 2 %}",
                                    "{{ 'a }}",
                                    "{{ a b }}",
                                    "{% for loop in x %}{% endfor %}",
                                    "{% macro m(a, a) %}{% endmacro %}",
                                    "{{ f(a=1, a=2) }}",
                                    "{% include 'x' %}",
                                    "{% for x in y recursive %}{% endfor %}",
                                    "{{ x[1:2, 3] }}",
                                    "{{ 1 if }}",
                                    "\xff"}) {
        auto parsed = Template::parse(source, "t");
        ASSERT_FALSE(parsed) << source;
        EXPECT_EQ(parsed.error().code, ErrorCode::model_invalid) << source;
    }
    EXPECT_EQ(Template::parse("a\n  {{ x | nofilter }}", "chat_template.jinja").error().message,
              "chat_template.jinja:2:10: no filter named 'nofilter'");
    // Under an if it is an error only when it runs, as in jinja2.
    EXPECT_EQ(text("{% if false %}{{ x | nofilter }}{% endif %}ok"), "ok");
}

TEST(Jinja, ErrorsTellWhoseTheyAre) {
    auto raised = render("{{ raise_exception('Roles must alternate') }}");
    ASSERT_FALSE(raised);
    EXPECT_EQ(raised.error().code, ErrorCode::invalid_request);
    EXPECT_EQ(raised.error().message, "Roles must alternate");
    EXPECT_EQ(render("{{ x.y + 1 }}", R"({"x": {}})").error().code, ErrorCode::invalid_request);
    EXPECT_EQ(render("{% if true %}{{ 1 | nofilter }}{% endif %}").error().code, ErrorCode::model_invalid);
}

TEST(Jinja, MessagesOfErrorsAreShortAndOnOneLine) {
    const auto raised = render("{{ raise_exception('a\nb' ~ x) }}", "{\"x\": \"" + repeat("é", 10'000) + "\"}");
    ASSERT_FALSE(raised);
    EXPECT_LT(raised.error().message.size(), 600u);
    EXPECT_TRUE(raised.error().message.starts_with("a b"));
    EXPECT_TRUE(raised.error().message.ends_with("é…"));
}

TEST(JinjaLimits, StepsRangesOutputAndMemoryAreBounded) {
    EXPECT_FALSE(render("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"));
    EXPECT_FALSE(render("{{ range(100001) | list | length }}"));
    EXPECT_EQ(text("{{ range(100000) | list | length }}"), "100000");
    EXPECT_FALSE(render("{{ 'a' * 1000000000 }}"));
    EXPECT_FALSE(render("{{ [0] * 1000000000 }}"));
    EXPECT_FALSE(render("{{ 'x'.center(1000000000) }}{{ '%1000000000d' % 1 }}"));
    EXPECT_FALSE(render("{{ '%1000000000d' % 1 }}"));
    EXPECT_FALSE(render("{{ '{:1000000000}'.format(1) }}"));
    EXPECT_FALSE(render("{{ ['aaaaaaaaaa'] | tojson(indent=1000000000) }}"));
    EXPECT_FALSE(
        render("{% set x = 'ab' %}{% for i in range(60) %}{% set x = x ~ x %}{% endfor %}{% set ns = namespace(x='ab') "
               "%}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"));
    EXPECT_FALSE(
        render("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"));
    EXPECT_FALSE(render(
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}"));
    EXPECT_FALSE(
        render("{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}"
               "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}"));
    EXPECT_FALSE(render("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}"));
    EXPECT_FALSE(
        render("{% for i in range(100000) %}{{ "
               "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' * 20 "
               "}}{% endfor %}"));
}

TEST(JinjaLimits, AddingToATextInALoopIsLinear) {
    const std::string source =
        "{% set ns = namespace(t='') %}{% for i in range(50000) %}{% set ns.t = ns.t ~ 'abcdefgh' %}{% endfor %}{{ "
        "ns.t | length }}";
    EXPECT_EQ(text(source), "400000");
}

TEST(JinjaLimits, DeepSourceIsRefusedOnASmallStack) {
    const size_t n = 100'000;
    const std::vector<std::string> sources = {"{{ " + repeat("(", n) + "1" + repeat(")", n) + " }}",
                                              "{{ " + repeat("[", n) + repeat("]", n) + " }}",
                                              "{{ " + repeat("{1:", n) + "1" + repeat("}", n) + " }}",
                                              "{{ " + repeat("-", n) + "1 }}",
                                              "{{ " + repeat("not ", n) + "1 }}",
                                              "{{ " + repeat("f(", n) + repeat(")", n) + " }}",
                                              "{{ " + repeat("x[", n) + repeat("]", n) + " }}",
                                              "{{ " + repeat("1 if 1 else ", n) + "1 }}",
                                              "{{ 1" + repeat(" if 1", n) + " }}",
                                              repeat("{% if 1 %}", n) + repeat("{% endif %}", n),
                                              repeat("{% for x in y %}", n),
                                              repeat("{% macro m() %}", n),
                                              repeat("{% set x %}", n),
                                              repeat("{% filter upper %}", n),
                                              repeat("{% call f() %}", n),
                                              repeat("{% with %}", n),
                                              "{{ x is " + repeat("eq(y is ", n),
                                              "{% set " + repeat("(", n) + " = 1 %}",
                                              "{% for " + repeat("(", n) + " in x %}",
                                              repeat("{{ ", n),
                                              repeat("{% ", n),
                                              "{{ x|" + repeat("f(x|", n)};
    on_small_stack([&] {
        for (const std::string& source : sources) {
            const auto begin = std::chrono::steady_clock::now();
            EXPECT_FALSE(Template::parse(source, "t")) << source.substr(0, 40);
            EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1)) << source.substr(0, 40);
        }
    });
}

TEST(JinjaLimits, LongChainsAreNotDeep) {
    const size_t n = 5'000;
    on_small_stack([&] {
        EXPECT_EQ(text("{{ 0" + repeat(" + 1", n) + " }}"), "5000");
        EXPECT_EQ(text("{{ ''" + repeat(" ~ 'a'", n) + " }}").size(), n);
        EXPECT_EQ(text("{{ 1" + repeat(" and 1", n) + " }}"), "1");
        EXPECT_EQ(text("{{ 'a'" + repeat("|upper", n) + " }}"), "A");
        EXPECT_EQ(text("{% if false %}" + repeat("{% elif false %}x", n) + "{% else %}y{% endif %}"), "y");
        EXPECT_EQ(text(repeat("{% set x = 1 %}", n) + "{{ x }}"), "1");
    });
}

TEST(JinjaLimits, DepthAtTheLimitRendersOnASmallStack) {
    // Every level of the grammar in every bracket, sixty levels deep.
    const std::string open = "0 or 1 and not 0 == 1 + 2 ~ 3 * 4 ** -(", close = ")|abs";
    const std::string deep = "{{ " + repeat(open, 20) + "1" + repeat(close, 20) + " }}";
    const std::string nested = repeat("{% if 1 %}", 60) + "x" + repeat("{% endif %}", 60);
    on_small_stack([&] {
        const auto parsed = Template::parse(deep, "t");
        EXPECT_TRUE(parsed) << parsed.error().message;
        (void)render(deep);
        EXPECT_EQ(text(nested), "x");
    });
}

TEST(JinjaLimits, MacrosThatCallEachOtherAreStopped) {
    on_small_stack([] {
        EXPECT_FALSE(render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"));
        EXPECT_FALSE(
            render("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{% if 1 %}{% for x in [1] %}{% set y %}{{ "
                   "[[a()]] }}{% endset %}{% endfor %}{% endif %}{% endmacro %}{{ a() }}"));
        EXPECT_FALSE(render("{% macro m(n) %}{% call m(n) %}{% endcall %}{% endmacro %}{{ m(1) }}"));
        // Sixty calls deep is allowed, with the statements that recursive macros have around them.
        EXPECT_EQ(text("{% macro m(n) %}{% if n > 0 %}{% for x in [n] %}{% if x %}{{ m(x - 1) ~ '' }}{% endif %}{% "
                       "endfor %}{% else %}end{% endif %}{% endmacro %}{{ m(60) }}"),
                  "end");
        // The filter of a loop that looks ahead runs inside an attribute.
        EXPECT_FALSE(
            render("{% macro m() %}{% for x in [1, 2] if m() %}{{ loop.last }}{% endfor %}{% endmacro %}{{ m() }}"));
    });
}

TEST(JinjaLimits, DeepValuesAreWrittenOnASmallStack) {
    const std::string json = "{\"x\": " + repeat("[", 60) + repeat("]", 60) + "}";
    on_small_stack([&] {
        EXPECT_EQ(text("{{ x }}{{ x | tojson }}{{ x == x }}", json).size(), 244u);
        EXPECT_FALSE(
            render("{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}"));
        EXPECT_EQ(text("{% set ns = namespace(n=none) %}{% for i in range(30000) %}{% set ns.n = namespace(n=ns.n) "
                       "%}{% endfor %}ok"),
                  "ok");
    });
}

}  // namespace
}  // namespace nibble::text
