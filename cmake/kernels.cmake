# The CUDA part of a build: file suffix -> GPU targets.
#   x.cu        every GPU that nibble knows: 90a (H100, H200), 120a (RTX Blackwell), 121a (GB10)
#   x_sm90.cu   90a
#   x_sm120.cu  120a and 121a
#   x_cuda.cpp  host code of a build with CUDA
# The architecture-specific targets ("a") are named in pairs: the plain ones lack the FP4 and bulk instructions.
if(NIBBLE_CUDA)
  if(NOT CMAKE_CUDA_COMPILER AND EXISTS /usr/local/cuda/bin/nvcc)
    set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit 13.0 REQUIRED)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")  # CMake 3.25 does not know that nvcc 13 has it
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O3 -lineinfo")
  # fmt 9 does not know that this compiler has constexpr; its consteval check of format strings is left to g++.
  add_compile_definitions($<$<COMPILE_LANGUAGE:CUDA>:FMT_CONSTEVAL=> $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
  add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>
                      "$<$<COMPILE_LANGUAGE:CUDA>:-diag-suppress=20012,20013,20014,20015>")
endif()

function(nibble_cuda_objects room suffix architectures)
  set(sources ${ARGN})
  if(NOT sources)
    return()
  endif()
  set(name nibble_${room}_cuda${suffix})
  add_library(${name} OBJECT ${sources})
  set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES "${architectures}")
  target_include_directories(${name} PRIVATE src)
  target_compile_definitions(${name} PRIVATE NIBBLE_HAVE_CUDA)
  target_link_libraries(${name} PRIVATE fmt::fmt CUDA::cudart_static)
  target_sources(nibble_${room} PRIVATE $<TARGET_OBJECTS:${name}>)
endfunction()

# Adds a room's CUDA sources to its library.
function(nibble_cuda_room room)
  if(NOT NIBBLE_CUDA)
    return()
  endif()
  file(GLOB_RECURSE kernels CONFIGURE_DEPENDS src/${room}/*.cu)
  set(sm90 ${kernels})
  set(sm120 ${kernels})
  list(FILTER sm90 INCLUDE REGEX "_sm90\\.cu$")
  list(FILTER sm120 INCLUDE REGEX "_sm120\\.cu$")
  list(FILTER kernels EXCLUDE REGEX "_sm(90|120)\\.cu$")
  nibble_cuda_objects(${room} "" "90a-real;120a-real;121a-real" ${kernels})
  nibble_cuda_objects(${room} "_sm90" "90a-real" ${sm90})
  nibble_cuda_objects(${room} "_sm120" "120a-real;121a-real" ${sm120})
  target_compile_definitions(nibble_${room} PUBLIC NIBBLE_HAVE_CUDA)
  target_link_libraries(nibble_${room} PUBLIC CUDA::cudart_static)
endfunction()
