# Host kernels are built for x86-64-v3 (AVX2, FMA, F16C) where this machine has it: every GPU box of
# the last ten years does, so a bundle made here runs there. Elsewhere, the compiler's default.
include(CheckCXXSourceRuns)
set(CMAKE_REQUIRED_FLAGS "-march=x86-64-v3")
check_cxx_source_runs("int main() { return __builtin_cpu_supports(\"avx2\") && __builtin_cpu_supports(\"fma\") ? 0 : 1; }"
                      WEFT_HAVE_X86_64_V3)
unset(CMAKE_REQUIRED_FLAGS)
if(WEFT_HAVE_X86_64_V3)
  target_compile_options(weft_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=x86-64-v3>)
endif()
