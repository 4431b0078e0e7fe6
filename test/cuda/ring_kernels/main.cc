// Checks of the ring all-reduce kernels on GPUs:
//   ring_kernels <devices> <parts> [seconds of fuzz] [seconds of timing] [seed]
//   ring_kernels 0,1 edges,replay,faults,phases,fuzz,split,timing     two GPUs
//   ring_kernels 0,0,0,0 edges,faults,fuzz               four ranks on one
//   [OPERATIONS=1000000] ring_kernels 0,1 soak,held      [ELEMENTS=268435456] ring_kernels 0,1 huge,wide
// LIMIT_MS is the kernels' deadline, for tools that slow them down (500).
// Ends with `N passed, N failed` and 1 when something failed; never later than its alarm.
#include <csignal>

#include "rig.h"

int main(int argc, char** argv) {
  using namespace rig;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  // Ranks of one GPU must run at once; a kernel loaded late would wait for those that run.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1);
  setenv("CUDA_MODULE_LOADING", "EAGER", 1);
  const std::string list = argc > 1 ? argv[1] : "0,0", parts = argc > 2 ? argv[2] : "edges";
  const double fuzz = argc > 3 ? atof(argv[3]) : 10, timing = argc > 4 ? atof(argv[4]) : 60;
  const uint64_t operations =
      getenv("OPERATIONS") ? strtoull(getenv("OPERATIONS"), nullptr, 10) : 1'000'000;
  const uint64_t seed = argc > 5 ? strtoull(argv[5], nullptr, 10) : 1;
  signal(SIGALRM, [](int) {
    static const char text[] = "FATAL the whole program's time is over\n";
    if (write(1, text, sizeof text - 1) < 0) _exit(6);
    _exit(5);
  });
  alarm(static_cast<unsigned>(getenv("ALARM") ? atoi(getenv("ALARM")) : 60 + 2 * fuzz + timing));

  int have = 0;
  RIG_CHECK(cudaGetDeviceCount(&have));
  std::vector<int> devices;
  for (size_t p = 0; p < list.size();) {
    const int device = atoi(list.c_str() + p);
    if (device >= have) {
      printf("SKIP device %d: there are %d\n", device, have);
      return 0;
    }
    devices.push_back(device);
    const size_t comma = list.find(',', p);
    p = comma == std::string::npos ? list.size() : comma + 1;
  }
  const auto wants = [&](const char* part) {
    return ("," + parts + ",").find(std::string(",") + part + ",") != std::string::npos;
  };

  Tally tally;
  {
    const Capacity capacity{512u << 10, 4u << 20, 132 * 4, 65536, 32 * 64, 32, 16384};
    Rig rig(devices, capacity, 24u << 20);
    printf("ranks %zu, workspace %.1f MiB of which %.1f are protocol\n", rig.size(),
           workspace_bytes(capacity, devices.size()) / 1048576.0,
           protocol_bytes(capacity, devices.size()) / 1048576.0);
    if (wants("edges")) run_edges(rig, tally);
    if (wants("replay")) run_replay(rig, tally);
    if (wants("faults")) run_faults(rig, tally);
    if (wants("phases")) run_phases(rig, tally);
    if (wants("fuzz")) run_fuzz(rig, tally, seed, fuzz);
    if (wants("split")) run_split(rig, tally, seed, fuzz);
    if (wants("held")) run_held(rig, tally);
    if (wants("soak")) run_soak(rig, tally, seed, operations);
  }
  if (wants("huge")) {
    const uint64_t elements = getenv("ELEMENTS") ? strtoull(getenv("ELEMENTS"), nullptr, 10) : 1u << 28;
    Rig rig(devices, {512u << 10, 4u << 20, 132 * 4, 65536, 32 * 64, 32, 16384}, elements * 4);
    run_huge(rig, tally, elements);
  }
  if (wants("wide")) {
    const uint64_t elements = getenv("ELEMENTS") ? strtoull(getenv("ELEMENTS"), nullptr, 10) : 1u << 28;
    Rig rig(devices, {512u << 10, 4u << 20, 132 * 4, 65536, 32 * 64, 32, 16384}, elements * 4);
    run_wide(rig, tally, seed, fuzz, elements);
  }
  if (wants("timing")) {
    const bool shared = devices[0] == devices[1];
    const Capacity capacity{512u << 10, 16u << 20, 132 * 8, 65536, 132 * 48, 132, 32768};
    Rig rig(devices, capacity, shared ? 64u << 20 : 512u << 20);
    run_timing(rig, tally, timing);
  }
  printf("%d passed, %d failed\n", tally.passed, tally.failed);
  fflush(stdout);
  _exit(tally.failed == 0 ? 0 : 1);
}
