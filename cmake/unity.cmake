# Sources of one folder compiled together, which takes a fraction of the time: for builds that are only tested
# (sanitizers: WEFT_UNITY is on there). Names in unnamed namespaces must then differ within a folder; a source whose
# own do not is named where its target calls weft_unity().
option(WEFT_UNITY "Compile the sources of a folder together" OFF)

# weft_unity(TARGET [ALONE source...]): sources are relative to the present folder.
function(weft_unity target)
  cmake_parse_arguments(PARSE_ARGV 1 unity "" "" "ALONE")
  if(NOT WEFT_UNITY)
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE name)
    if(NOT name MATCHES "\\.cc$" OR name IN_LIST unity_ALONE)
      continue()
    endif()
    cmake_path(GET name PARENT_PATH folder)
    string(MAKE_C_IDENTIFIER "${folder}" folder)
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP "${folder}")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()
