# The C++ runtime of the addon and of weft's own plugins: linked in where the compiler brings it as an archive, so that
# what is built here loads on a machine with an older libstdc++. Its symbols stay inside; nothing of ours crosses a
# library by C++ type; what is not used is left out (its random_device would ask for a newer glibc). Elsewhere
# (some distributions package the archive by itself) the shared one is used.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LINK_OPTIONS -static-libstdc++)
check_cxx_source_compiles("#include <string>\nint main(int n, char**) { return static_cast<int>(std::string(n, 'x').size()); }"
                          WEFT_HAVE_STATIC_LIBSTDCXX)
unset(CMAKE_REQUIRED_LINK_OPTIONS)

function(weft_own_cxx_runtime target)
  if(WEFT_HAVE_STATIC_LIBSTDCXX)
    target_link_options(${target} PRIVATE -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections)
  endif()
endfunction()
