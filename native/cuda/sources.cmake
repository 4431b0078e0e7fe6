# The device code of weft_core: one operator family a source, all for every wanted architecture; GEMM's menu has
# sources for one family of architectures each, sm90_*.cu and sm100_*.cu.
file(GLOB cuda_host_sources CONFIGURE_DEPENDS cuda/*.cc)
file(GLOB cuda_device_sources CONFIGURE_DEPENDS cuda/*.cu)
weft_gencode(".*" gencode)
set_source_files_properties(${cuda_device_sources} PROPERTIES COMPILE_OPTIONS "${gencode}")
target_sources(weft_core PRIVATE ${cuda_host_sources} ${cuda_device_sources})

foreach(family sm90 sm100)
  if(family STREQUAL sm90)
    weft_gencode("^90a$" gencode)
  else()
    weft_gencode("^10[0-9]a$" gencode)
  endif()
  file(GLOB menu CONFIGURE_DEPENDS cuda/gemm_menu/${family}_*.cu)
  if(gencode AND menu)
    # C7510: ptxas serialised wgmma, which costs most of the speed: never let it pass.
    set_source_files_properties(${menu} PROPERTIES COMPILE_OPTIONS "${gencode};-Werror=all-warnings")
    target_sources(weft_core PRIVATE ${menu})
    string(TOUPPER ${family} upper)
    target_compile_definitions(weft_core PRIVATE WEFT_GEMM_${upper}=1)
  endif()
endforeach()
target_include_directories(weft_core SYSTEM PRIVATE ${WEFT_CUTLASS_DIR}/include ${WEFT_CUTLASS_DIR}/tools/util/include)
