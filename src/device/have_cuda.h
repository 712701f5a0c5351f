// kHaveCuda: whether this build has a CUDA backend. Code that needs one stands under `if constexpr (kHaveCuda)` and
// calls device/cuda.h, whose functions exist only then.
#pragma once

namespace nibble::device {

#ifdef NIBBLE_HAVE_CUDA
inline constexpr bool kHaveCuda = true;
#else
inline constexpr bool kHaveCuda = false;
#endif

}  // namespace nibble::device
