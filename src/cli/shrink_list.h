// ShrinkList: what could be stored in fewer bits, the most bytes of a token first, and the command that does it.
//
// Sizes are those that the packed weights of the recorded Program would have in the other format. Whether an answer
// suffers is not known here. Pure; any thread.
#pragma once

#include "cli/program_parts.h"
#include "device/device.h"
#include "model/state.h"

#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

struct Shrink {
    enum class How { quantize, serve, none } how = How::none;  // none: nibble has no flag for it
    std::string what;                                          // "head BF16 -> NVFP4"
    std::string flags;                                         // of the verb: "--head nvfp4"
    std::vector<Segment> saved;                                // of a step, by what it is saved from
    std::string milder_flags;                                  // the same part in FP8; empty: no such choice
    double milder_saved_bytes = 0;

    double saved_bytes() const;
};

// `device` packs the weights. Entries that save less than half a percent are left out.
std::vector<Shrink> shrink_list(const ProgramParts& parts, const model::StateShape& state,
                                const device::Device& device);

// Of a slot's bytes, the share of the recurrent matrices; the rest are the inputs of the convolution.
double matrix_share(const model::StateShape& state);

// What quantize takes for all entries that are its own: empty when there are less than two.
std::string flags_at_once(const std::vector<Shrink>& shrinks);

// A word as a shell takes it.
std::string for_shell(std::string_view word);

// The command of each entry, the next taking what the one before wrote ("nibble quantize MODEL OUT1 --head nvfp4");
// empty where there is none. Names are quoted for a shell if need be.
std::vector<std::string> commands_of(const std::vector<Shrink>& shrinks, std::string_view model);

}  // namespace nibble::cli
