// One CUTLASS 3.x GEMM: type recipe in, GemmKernel row out. Included by the files of menu/
// alone, each of which instantiates one tile for its layouts. Row-major C throughout; bias,
// tanh-GELU and the value before it are fused in the epilogue (visitor trees: Chen et al., EVT,
// ASPLOS 2024).
#pragma once

#include <atomic>
#include <type_traits>

#include "cuda/gemm/kernel_menu.h"
#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/epilogue/fusion/operations.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "cutlass/gemm/kernel/tile_scheduler.hpp"

namespace weft::cuda {

/// x · sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x³): the tanh form of GELU (Hendrycks & Gimpel
/// 2016) without a tanh.
template <class T>
struct TanhGelu {
  static constexpr bool kIsHeavy = true;
  CUTLASS_HOST_DEVICE T operator()(T x) const {
    const float v = static_cast<float>(x);
    const float u = v * (1.5957691216057308f + 0.07135481627260025f * v * v);
#if defined(__CUDA_ARCH__)
    // An exact division is a call with branches; this one is a reciprocal, to 2 ulp.
    return static_cast<T>(__fdividef(v, 1.0f + cutlass::fast_exp(-u)));
#else
    return static_cast<T>(v / (1.0f + cutlass::fast_exp(-u)));
#endif
  }
};
template <class T, int N>
struct TanhGelu<cutlass::Array<T, N>> {
  static constexpr bool kIsHeavy = true;
  CUTLASS_HOST_DEVICE cutlass::Array<T, N> operator()(const cutlass::Array<T, N>& x) const {
    cutlass::Array<T, N> y;
    CUTLASS_PRAGMA_UNROLL
    for (int i = 0; i < N; ++i) y[i] = TanhGelu<T>{}(x[i]);
    return y;
  }
};

// How a tile is worked on. `Mma` and `Epilogue` are CUTLASS schedule tags; kSplits: the tile
// scheduler may share one tile's k among blocks (stream-K, Osama et al. 2023).
template <class ArchTag, class TileShape, class ClusterShape, class MmaTag, class EpilogueTag,
          bool kMaySplit>
struct TileRecipe {
  using Arch = ArchTag;
  using Tile = TileShape;        // of a cluster's MMA where that spans two SMs
  using Cluster = ClusterShape;  // static
  using Mma = MmaTag;
  using Epilogue = EpilogueTag;
  static constexpr bool kSplits = kMaySplit;
};

template <class Recipe, class Element, GemmLayout kLayout, GemmEpilogue kEpilogue>
class GemmTile {
  static constexpr bool kADenseK = kLayout == GemmLayout::kKK || kLayout == GemmLayout::kKN;
  static constexpr bool kBDenseK = kLayout == GemmLayout::kKK || kLayout == GemmLayout::kMK;
  // Hopper multiplies TF32 from shared memory only where k is dense, so an operand that is dense
  // otherwise passes through registers, and only the left one can: Cᵀ = Bᵀ·Aᵀ brings B there.
  static constexpr bool kSwap = std::is_same_v<typename Recipe::Arch, cutlass::arch::Sm90> &&
                                sizeof(Element) == 4 && kLayout == GemmLayout::kKN;
  static_assert(!kSwap || kEpilogue == GemmEpilogue::kLinear);
  static constexpr bool kLeftDenseK = kSwap ? kBDenseK : kADenseK;
  static constexpr bool kRightDenseK = kSwap ? kADenseK : kBDenseK;
  static constexpr int kAlign = 16 / sizeof(Element);
  using Row = cutlass::layout::RowMajor;
  using Column = cutlass::layout::ColumnMajor;
  using LayoutLeft = std::conditional_t<kLeftDenseK, Row, Column>;
  using LayoutRight = std::conditional_t<kRightDenseK, Column, Row>;
  using LayoutC = std::conditional_t<kSwap, Column, Row>;

  using Linear = std::conditional_t<
      kSwap, cutlass::epilogue::fusion::LinCombPerRowBias<Element, float, Element, Element>,
      cutlass::epilogue::fusion::LinCombPerColBias<Element, float, Element, Element>>;
  using Gelu = cutlass::epilogue::fusion::LinCombPerColBiasEltActAux<Row, TanhGelu, Element, float,
                                                                     Element, Element, Element>;
  using Fusion = std::conditional_t<kEpilogue == GemmEpilogue::kGelu, Gelu, Linear>;
  // The GELU kernel never reads C: its shared memory holds the second output instead.
  using ElementC = std::conditional_t<kEpilogue == GemmEpilogue::kGelu, void, Element>;

  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      typename Recipe::Arch, cutlass::arch::OpClassTensorOp, typename Recipe::Tile,
      typename Recipe::Cluster, cutlass::epilogue::collective::EpilogueTileAuto, float, float,
      ElementC, LayoutC, kAlign, Element, LayoutC, kAlign, typename Recipe::Epilogue,
      Fusion>::CollectiveOp;
  using Stages = cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(
      sizeof(typename Epilogue::SharedStorage))>;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      typename Recipe::Arch, cutlass::arch::OpClassTensorOp, Element, LayoutLeft, kAlign, Element,
      LayoutRight, kAlign, float, typename Recipe::Tile, typename Recipe::Cluster, Stages,
      typename Recipe::Mma>::CollectiveOp;
  using Scheduler = std::conditional_t<Recipe::kSplits, cutlass::gemm::StreamKScheduler,
                                       cutlass::gemm::PersistentScheduler>;

 public:
  using Kernel = cutlass::gemm::kernel::GemmUniversal<cute::Shape<int, int, int, int>, Mainloop,
                                                      Epilogue, Scheduler>;

  static size_t workspace(const GemmProblem& p, const GemmSetting& s) {
    return Kernel::get_workspace_size(arguments(p, s));
  }

  static cudaError_t launch(const GemmProblem& p, const GemmSetting& s, void* workspace,
                            cudaStream_t stream) {
    if (cudaError_t status = raise_shared_memory(s.ordinal); status != cudaSuccess) return status;
    const auto args = arguments(p, s);
    if (Kernel::initialize_workspace(args, workspace, stream) != cutlass::Status::kSuccess)
      return cudaErrorInvalidConfiguration;
    auto params = Kernel::to_underlying_arguments(args, workspace);
    cudaLaunchConfig_t config = {};
    config.gridDim = Kernel::get_grid_shape(params);
    config.blockDim = Kernel::get_block_shape();
    config.dynamicSmemBytes = Kernel::SharedStorageSize;
    config.stream = stream;
    using Cluster = typename Recipe::Cluster;
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {cute::size<0>(Cluster{}), cute::size<1>(Cluster{}),
                              cute::size<2>(Cluster{})};
    config.attrs = &cluster;
    config.numAttrs = 1;
    void* arguments_of_kernel[] = {&params};
    return cudaLaunchKernelExC(&config,
                               reinterpret_cast<const void*>(cutlass::device_kernel<Kernel>),
                               arguments_of_kernel);
  }

  static constexpr GemmKernel row(const char* name, fabric::DType dtype) {
    // Tiles are counted for one SM; two of Blackwell's may make one together, each half the rows.
    constexpr bool kPair =
        std::is_same_v<typename Recipe::Mma, cutlass::gemm::KernelTmaWarpSpecialized2SmSm100>;
    constexpr int kM = cute::size<0>(typename Recipe::Tile{}) / (kPair ? 2 : 1);
    constexpr int kN = cute::size<1>(typename Recipe::Tile{});
    return {{name, dtype, kLayout, kEpilogue, kSwap ? kN : kM, kSwap ? kM : kN, Recipe::kSplits},
            workspace,
            launch};
  }

 private:
  // Once for each device: above 48 KiB a kernel must ask.
  static cudaError_t raise_shared_memory(int ordinal) {
    static std::atomic<uint64_t> done{0};
    const uint64_t bit = uint64_t{1} << (ordinal & 63);
    if (done.load(std::memory_order_relaxed) & bit) return cudaSuccess;
    cudaError_t status = cudaFuncSetAttribute(cutlass::device_kernel<Kernel>,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              Kernel::SharedStorageSize);
    if (status == cudaSuccess) done.fetch_or(bit, std::memory_order_relaxed);
    return status;
  }

  template <class Stride, bool kDenseInner>
  static Stride stride_of(int64_t ld, int64_t batch) {
    Stride stride{};
    if constexpr (kDenseInner) {
      cute::get<0>(stride) = ld;
    } else {
      cute::get<1>(stride) = ld;
    }
    cute::get<2>(stride) = batch;
    return stride;
  }

  static typename Kernel::Arguments arguments(const GemmProblem& p, const GemmSetting& s) {
    typename Kernel::Arguments args{};
    args.mode = cutlass::gemm::GemmUniversalMode::kGemm;
    args.problem_shape = {kSwap ? p.n : p.m, kSwap ? p.m : p.n, p.k, p.batch};
    args.mainloop.ptr_A = static_cast<const Element*>(kSwap ? p.b : p.a);
    args.mainloop.dA = stride_of<typename Kernel::StrideA, kLeftDenseK>(
        kSwap ? p.ldb : p.lda, kSwap ? p.b_batch : p.a_batch);
    args.mainloop.ptr_B = static_cast<const Element*>(kSwap ? p.a : p.b);
    args.mainloop.dB = stride_of<typename Kernel::StrideB, kRightDenseK>(
        kSwap ? p.lda : p.ldb, kSwap ? p.a_batch : p.b_batch);
    const auto c_stride = stride_of<typename Kernel::StrideD, !kSwap>(p.ldc, p.c_batch);
    if constexpr (!std::is_void_v<ElementC>) args.epilogue.ptr_C = static_cast<Element*>(p.c);
    args.epilogue.dC = c_stride;
    args.epilogue.ptr_D = static_cast<Element*>(p.c);
    args.epilogue.dD = c_stride;
    auto& fusion = args.epilogue.thread;
    fusion.alpha = p.alpha;
    fusion.beta = p.beta;
    fusion.bias_ptr = static_cast<const Element*>(p.bias);
    if constexpr (kEpilogue == GemmEpilogue::kGelu) {
      fusion.aux_ptr = static_cast<Element*>(p.before);
      fusion.dAux = c_stride;
    }
    args.hw_info.device_id = s.ordinal;
    args.hw_info.sm_count = s.multiprocessors;
    if (s.swizzle > 1) args.scheduler.max_swizzle_size = s.swizzle;
    if constexpr (Recipe::kSplits) {
      using Mode = decltype(args.scheduler.decomposition_mode);
      using Reduction = decltype(args.scheduler.reduction_mode);
      if (s.splits == 1) {
        args.scheduler.decomposition_mode = Mode::DataParallel;
      } else if (s.splits > 1) {
        args.scheduler.decomposition_mode = Mode::SplitK;
        args.scheduler.splits = s.splits;
      }
      args.scheduler.reduction_mode = Reduction::Deterministic;
    }
    return args;
  }
};

/// One row of a file: `kLayout` and `kEpilogue` of a recipe, named after the file.
#define WEFT_GEMM_ROW(file, recipe, element, dtype, layout, epilogue, suffix) \
  GemmTile<recipe, element, GemmLayout::layout, GemmEpilogue::epilogue>::row(#file suffix, dtype)

/// The rows that every file has: the three layouts of training, and GELU for that of linear.
#define WEFT_GEMM_ROWS(file, recipe, element, dtype)                    \
  WEFT_GEMM_ROW(file, recipe, element, dtype, kKK, kLinear, "_kk"),     \
      WEFT_GEMM_ROW(file, recipe, element, dtype, kKN, kLinear, "_kn"), \
      WEFT_GEMM_ROW(file, recipe, element, dtype, kMN, kLinear, "_mn"), \
      WEFT_GEMM_ROW(file, recipe, element, dtype, kKK, kGelu, "_kk_gelu")

/// Defines the function that kernel_menu.h declares for `file` from its rows.
#define WEFT_GEMM_FILE_OF(file, ...)                                 \
  GemmKernels file() {                                               \
    static constexpr GemmKernel rows[] = {__VA_ARGS__};              \
    return {rows, static_cast<int>(sizeof(rows) / sizeof(rows[0]))}; \
  }

}  // namespace weft::cuda
