// Checks GEMM and attention on a GPU against plain references in double, and with --time prints
// their rates. Stands alone: needs the fabric, native/gemm and native/cuda/{gemm,attention}*, no
// Node. Built by build_check.sh beside it. Exit code 1 when a check fails.
//
//   gemm_attention_check [--time] [--gemm] [--attention] [--device cuda:0]
#include <cstring>

#include "cuda/gemm/choice.h"
#include "device_check.h"

int main(int argc, char** argv) {
  bool time = false, gemm = false, attention = false;
  const char* name = "cuda:0";
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--time")) time = true;
    if (!std::strcmp(argv[i], "--gemm")) gemm = true;
    if (!std::strcmp(argv[i], "--attention")) attention = true;
    if (!std::strcmp(argv[i], "--device") && i + 1 < argc) name = argv[++i];
  }
  const bool all = !gemm && !attention;
  weft::register_gemm_menu(weft::cuda::built_gemm_menu());
  if (weft::gemm_menu().empty()) {
    std::printf("FAILED: built without the menu of GEMM kernels\n");
    return 1;
  }
  try {
    fabric::Device& device = fabric::open_device(name);
    fabric::cuda::use_device(device.ordinal());
    std::printf("%s: %s, %d SMs\n", name, device.properties().model.c_str(),
                device.properties().multiprocessors);
    fabric::Stream& stream = device.compute();
    weft::check::Report report;
    if (all || gemm) {
      weft::check::check_gemm(stream, report);
      if (time) weft::check::time_gemm(stream);
    }
    if (all || attention) {
      weft::check::check_attention(stream, report);
      if (time) weft::check::time_attention(stream);
    }
    std::printf("%s: %d failures\n", report.failures() ? "FAILED" : "passed", report.failures());
    return report.failures() ? 1 : 0;
  } catch (const fabric::Error& error) {
    std::printf("FAILED: %s: %s\n", fabric::error_code_name(error.code()), error.what());
    return 1;
  }
}
