#include "text/jinja/binding.h"

namespace nibble::text::jinja {

bool bind(Runtime& runtime, std::string_view function, const Arguments& arguments,
          std::initializer_list<Parameter> parameters, Item* out) {
    const Parameter* parameter = parameters.begin();
    if (arguments.positional.size() > parameters.size())
        return runtime.fail("{}() takes at most {} arguments ({} given)", function, parameters.size(),
                            arguments.positional.size());
    for (size_t i = 0; i < parameters.size(); i++)
        out[i] = i < arguments.positional.size() ? arguments.positional[i] : Item();
    for (const Keyword& keyword : arguments.named) {
        size_t i = 0;
        while (i < parameters.size() && (parameter[i].name.empty() || parameter[i].name != keyword.name)) i++;
        if (i == parameters.size())
            return runtime.fail("{}() got an unexpected keyword argument '{}'", function, keyword.name);
        if (!out[i].is(Kind::missing))
            return runtime.fail("{}() got multiple values for argument '{}'", function, keyword.name);
        out[i] = keyword.value;
    }
    for (size_t i = 0; i < parameters.size(); i++) {
        if (!out[i].is(Kind::missing)) continue;
        if (parameter[i].fallback.is(Kind::missing))
            return runtime.fail("{}() is missing its argument '{}'", function, parameter[i].name);
        out[i] = parameter[i].fallback;
    }
    return true;
}

bool bind_nothing(Runtime& runtime, std::string_view function, const Arguments& arguments) {
    return bind(runtime, function, arguments, {}, nullptr);
}

bool to_integer(Runtime& runtime, std::string_view function, const Item& item, int64_t& out) {
    if (item.is_undefined()) return runtime.fail_undefined(item);
    if (!item.is_integer()) return runtime.fail("{}() needs an integer, not '{}'", function, type_name(item));
    out = item.as_integer();
    return true;
}

}  // namespace nibble::text::jinja
