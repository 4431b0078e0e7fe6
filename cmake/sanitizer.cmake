# WEFT_SANITIZER=thread | address (address includes undefined behaviour). GEMM then is our plain loop:
# an uninstrumented BLAS would hide races. -O1 -g1, after the targets' own -O3, keep compilation short; checks of null
# would cost a fifth of it, and AddressSanitizer reports what is read there.
if(WEFT_SANITIZER STREQUAL "thread")
  set(flags -fsanitize=thread -O1 -g1 -fno-omit-frame-pointer)
elseif(WEFT_SANITIZER STREQUAL "address")
  set(flags -fsanitize=address,undefined -fno-sanitize=null -fno-sanitize-recover=undefined -O1 -g1 -fno-omit-frame-pointer)
elseif(NOT WEFT_SANITIZER STREQUAL "")
  message(FATAL_ERROR "WEFT_SANITIZER must be thread, address or empty, not '${WEFT_SANITIZER}'")
endif()
if(flags)
  target_compile_options(weft_options INTERFACE ${flags})
  target_link_options(weft_options INTERFACE ${flags})
  set(WEFT_BLAS_DIR "" CACHE PATH "" FORCE)
endif()
