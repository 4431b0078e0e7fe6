// cross_entropy_forward and _backward on CUDA: log-softmax, negative log-likelihood and label
// smoothing in one pass over the logits, without a matrix of probabilities. Called through the
// kernel table. Row losses are added in double by one block in a fixed order. Semantics are those
// of native/cpu/rows/cross_entropy.cc.
#include "cuda/device_error.h"
#include "cuda/kernel_list.h"
#include "cuda/rows/online_sum.cuh"
#include "dispatch/op_table.h"

namespace weft::cuda {
namespace {

constexpr int kTotalThreads = 1024;

/// What both passes know of the targets. A target out of range counts as ignored.
struct Targets {
  const int64_t* of;
  int64_t cols, ignore_index;

  __device__ __forceinline__ bool counts(int64_t target) const {
    return target != ignore_index && target >= 0 && target < cols;
  }
};

/// out = g * (softmax(x) - what the target asks for), zeros for a row that does not count. `out` may be x: each thread
/// writes what it alone reads.
template <typename L, typename T, typename Team>
__device__ __forceinline__ void write_gradient(const Team& team, const T* x, T* out, int64_t n,
                                               int64_t target, bool counts, L g, L log_sum,
                                               L smoothing, bool packs) {
  const L off = g * (smoothing / static_cast<L>(n)), hit = g * (L(1) - smoothing);
  sweep(team, x, n, packs, [&](int64_t i, auto width) {
    constexpr int w = decltype(width)::value;
    L v[w];
    if (counts) {
      read_lanes<L>(x + i, v);
#pragma unroll
      for (int k = 0; k < w; ++k) {
        v[k] = g * exp_of(v[k] - log_sum) - off;
        if (i + k == target) v[k] -= hit;
      }
    } else {
#pragma unroll
      for (int k = 0; k < w; ++k) v[k] = 0;
    }
    write_lanes<L>(out + i, v);
  });
}

/// What one thread of a team read before is read before any of them writes after.
template <typename Team>
__device__ __forceinline__ void meet(const Team&) {
  if constexpr (std::is_same_v<Team, BlockTeam>) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

/// losses: double (rows,) for total_kernel, or nullptr where `loss` takes each row's. grad_logits, where kGradient, with
/// grad_loss of one value, or of each row where `losses` is nullptr, or 1: the row lies in cache when it is read again.
template <typename T, bool kGradient, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    forward_kernel(const T* logits, Targets targets, float* lse, float* loss, double* losses,
                   const float* grad_loss, T* grad_logits, int64_t rows, Lane<T> smoothing,
                   bool packs, DeviceError* error, uint16_t op) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const int64_t n = targets.cols;
  const T* x = logits + row * n;
  const int64_t target = targets.of[row];
  const bool counts = targets.counts(target);
  const L at_target = counts ? convert<L>(x[target]) : L(0);
  const OnlineSum<L> total = row_exp_sum<L>(team, x, n, packs);
  const bool nothing = total.top == -kInfinity<L> && total.sum == total.sum;
  const L log_sum = nothing ? total.top : total.top + log_of(total.sum);
  L value = 0;
  if (counts) {  // the same for the whole team
    value = log_sum - at_target;
    if (smoothing != L(0)) {
      L sum = 0;
      sweep(team, x, n, packs, [&](int64_t i, auto width) {
        L v[decltype(width)::value];
        read_lanes<L>(x + i, v);
#pragma unroll
        for (L each : v) sum += each;
      });
      sum = team.combine(sum, Plus{});
      value = (L(1) - smoothing) * value + smoothing * (log_sum - sum / static_cast<L>(n));
    }
  }
  if constexpr (kGradient) {
    meet(team);  // grad_logits may be the logits
    const L g = grad_loss == nullptr ? 1.f : grad_loss[losses == nullptr ? row : 0];
    write_gradient(team, x, grad_logits + row * n, n, target, counts, g, log_sum, smoothing, packs);
  }
  if (team.rank() != 0) return;
  if (!counts && target != targets.ignore_index) report_index(error, op, target, n);
  lse[row] = static_cast<float>(log_sum);
  if (losses != nullptr) {
    losses[row] = value;
  } else {
    loss[row] = static_cast<float>(value);
  }
}

/// count, and for kMean and kSum the loss. One block.
__global__ void __launch_bounds__(kTotalThreads)
    total_kernel(const double* losses, Targets targets, int64_t rows, Reduction reduction,
                 float* loss, float* count) {
  double sum = 0, counted = 0;
  for (int64_t r = threadIdx.x; r < rows; r += kTotalThreads) {
    if (losses != nullptr) sum += losses[r];
    counted += targets.counts(targets.of[r]);
  }
  const BlockTeam team;
  sum = team.combine(sum, Plus{});
  counted = team.combine(counted, Plus{});
  if (threadIdx.x != 0) return;
  *count = static_cast<float>(counted);
  if (reduction == Reduction::kSum) *loss = static_cast<float>(sum);
  if (reduction == Reduction::kMean) *loss = static_cast<float>(sum / counted);
}

template <typename T, typename Team>
__global__ void __launch_bounds__(Team::kMaxThreads, Team::kBlocks)
    backward_kernel(const T* logits, Targets targets, const float* lse, const float* count,
                    const float* grad_loss, T* grad_logits, int64_t rows, Reduction reduction,
                    Lane<T> smoothing, bool packs) {
  using L = Lane<T>;
  const Team team;
  const int64_t row = team.row();
  if (row >= rows) return;
  const int64_t n = targets.cols;
  const T* x = logits + row * n;
  T* out = grad_logits + row * n;
  const int64_t target = targets.of[row];
  const bool counts = targets.counts(target);
  L g = 0, log_sum = 0;
  if (counts) {
    g = grad_loss[reduction == Reduction::kNone ? row : 0];
    if (reduction == Reduction::kMean) g /= static_cast<L>(*count);
    if constexpr (std::is_same_v<L, double>) {
      // The stored log-sum-exp is f32: not enough for gradients in f64, which take it again.
      const OnlineSum<L> total = row_exp_sum<L>(team, x, n, packs);
      log_sum = total.top + log(total.sum);
    } else {
      log_sum = lse[row];
    }
  }
  write_gradient(team, x, out, n, target, counts, g, log_sum, smoothing, packs);
}

}  // namespace

void cross_entropy_forward(const CrossEntropyArgs& args, Stream& stream) {
  with_floating(args.dtype, "crossEntropy", [&](auto type) {
    using T = typename decltype(type)::type;
    const auto* logits = static_cast<const T*>(args.logits);
    const Targets targets{args.targets, args.cols, args.ignore_index};
    const bool each = args.reduction == Reduction::kNone;
    DeviceError* error = device_error(args.device);
    const cudaStream_t s = enter(stream);
    Scratch scratch(stream, each ? 0 : static_cast<size_t>(args.rows) * sizeof(double));
    double* losses = each ? nullptr : scratch.as<double>();
    if (args.rows > 0) {
      auto run = [&](auto gradient) {
        auto* grad = static_cast<T*>(args.grad_logits);
        launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
          forward_kernel<T, decltype(gradient)::value, decltype(team)><<<blocks, threads, 0, s>>>(
              logits, targets, args.lse, args.loss, losses, args.grad_loss, grad, args.rows,
              static_cast<Lane<T>>(args.label_smoothing),
              grad == nullptr ? same_phase(logits) : same_phase(logits, grad), error,
              static_cast<uint16_t>(Op::cross_entropy));
        });
      };
      args.grad_logits != nullptr ? run(std::true_type{}) : run(std::false_type{});
      check_launch("crossEntropy");
    }
    total_kernel<<<1, kTotalThreads, 0, s>>>(losses, targets, args.rows, args.reduction, args.loss,
                                             args.count);
    check_launch("crossEntropy");
  });
}

void cross_entropy_backward(const CrossEntropyArgs& args, Stream& stream) {
  with_floating(args.dtype, "crossEntropy", [&](auto type) {
    using T = typename decltype(type)::type;
    if (args.rows == 0 || args.cols == 0) return;
    const auto* logits = static_cast<const T*>(args.logits);
    auto* grad = static_cast<T*>(args.grad_logits);
    const Targets targets{args.targets, args.cols, args.ignore_index};
    const cudaStream_t s = enter(stream);
    launch_rows(args.rows, args.cols, kPack<T>, [&](auto team, unsigned blocks, int threads) {
      backward_kernel<T, decltype(team)><<<blocks, threads, 0, s>>>(
          logits, targets, args.lse, args.count, args.grad_loss, grad, args.rows, args.reduction,
          static_cast<Lane<T>>(args.label_smoothing), same_phase(logits, grad));
    });
    check_launch("crossEntropy");
  });
}

}  // namespace weft::cuda
