# Device code. WEFT_CUDA=on builds it for WEFT_CUDA_ARCHITECTURES, off leaves it out; set-up decides what `auto`
# means. The toolkit is the one at WEFT_CUDA_ROOT (the wheels that set-up brings), else the one nvcc on the PATH
# belongs to. The runtime is linked statically and the driver found at run time, so the result loads anywhere.
set(WEFT_CUDA "off" CACHE STRING "on or off")
set(WEFT_CUDA_ROOT "" CACHE PATH "Folder of the CUDA toolkit; empty: from the PATH")
set(WEFT_CUTLASS_DIR "" CACHE PATH "Folder that holds CUTLASS's include and tools")
set(WEFT_CUDA_ARCHITECTURES "90a;100a;103a" CACHE STRING "Architectures to build device code for")
set(WEFT_HAVE_CUDA OFF)
if(NOT WEFT_CUDA STREQUAL "on")
  return()
endif()

if(WEFT_CUDA_ROOT)
  set(CMAKE_CUDA_COMPILER ${WEFT_CUDA_ROOT}/bin/nvcc)
endif()
# CMake's own architecture list knows no "90a" flags for a static check: give them as options below.
set(CMAKE_CUDA_ARCHITECTURES OFF)
# CMake 3.25 knows no C++20 for nvcc 13: it drops the wish, and the option below asks for it. Where the C++
# standard is required, so would CUDA's be, which is an error.
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED OFF)
enable_language(CUDA)
set(WEFT_HAVE_CUDA ON)
get_filename_component(cuda_bin ${CMAKE_CUDA_COMPILER} DIRECTORY)
get_filename_component(cuda_root ${cuda_bin} DIRECTORY)
find_library(WEFT_CUDART_STATIC cudart_static PATHS ${cuda_root}/lib ${cuda_root}/lib64
             ${cuda_root}/targets/x86_64-linux/lib NO_DEFAULT_PATH REQUIRED)

# The flags that build a source for those of the wanted architectures that the given pattern matches.
function(weft_gencode pattern result)
  set(flags "")
  foreach(arch ${WEFT_CUDA_ARCHITECTURES})
    if(arch MATCHES "${pattern}")
      list(APPEND flags "-gencode=arch=compute_${arch},code=sm_${arch}")
    endif()
  endforeach()
  set(${result} "${flags}" PARENT_SCOPE)
endfunction()

# The same, where architectures of one family share what the source uses: 100a and 103a become 100f, whose binary
# runs on both.
function(weft_shared_gencode pattern result)
  weft_gencode("${pattern}" flags)
  if("100a" IN_LIST WEFT_CUDA_ARCHITECTURES AND "103a" IN_LIST WEFT_CUDA_ARCHITECTURES)
    list(FILTER flags EXCLUDE REGEX "sm_10[03]a$")
    list(APPEND flags "-gencode=arch=compute_100f,code=sm_100f")
  endif()
  set(${result} "${flags}" PARENT_SCOPE)
endfunction()

# The same for sources without instructions of one architecture alone: one binary serves all of a major version
# from its oldest on, so that 100a and 103a do not compile the same code twice. Where code is only checked
# (WEFT_CUDA_CHECK: `npm run device-code`) the newest major is enough for them.
option(WEFT_CUDA_CHECK "Device code is compiled to be checked, not to run" OFF)
function(weft_family_gencode result)
  set(flags "")
  set(done "")
  set(ascending ${WEFT_CUDA_ARCHITECTURES})
  list(SORT ascending COMPARE NATURAL)
  foreach(arch ${ascending})
    string(REGEX REPLACE "^([0-9]+)[0-9][af]?$" "\\1" major ${arch})
    if(NOT major IN_LIST done)
      list(APPEND done ${major})
      string(REGEX REPLACE "[af]$" "" plain ${arch})
      list(APPEND flags "-gencode=arch=compute_${plain},code=sm_${plain}")
    endif()
  endforeach()
  if(WEFT_CUDA_CHECK)
    list(GET flags -1 flags)
  endif()
  set(${result} "${flags}" PARENT_SCOPE)
endfunction()

add_library(weft_cuda INTERFACE)
target_compile_definitions(weft_cuda INTERFACE WEFT_HAVE_CUDA=1)
target_include_directories(weft_cuda SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_compile_options(weft_cuda INTERFACE
  # CUTLASS needs NDEBUG: with asserts ptxas serialises wgmma.
  "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;-O3;-DNDEBUG;--expt-relaxed-constexpr;-lineinfo;-diag-suppress=177>")
target_link_libraries(weft_cuda INTERFACE ${WEFT_CUDART_STATIC} Threads::Threads ${CMAKE_DL_LIBS} rt)
