// gather along a dimension and the sum of gradients back, against double references.
#include "core/async_error.h"
#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

class GatherKernel : public ::testing::TestWithParam<DType> {};

TEST_P(GatherKernel, ForwardAndBackward) {
  for (auto [outer, bound, count, inner] : {std::array<int64_t, 4>{3, 5, 7, 4},
                                            {2, 9, 3, 200},
                                            {50, 30, 1, 1},
                                            {1, 1, 40, 3},
                                            {4, 3, 0, 2},
                                            {0, 3, 2, 2}}) {
    SCOPED_TRACE(::testing::Message() << outer << " " << bound << " " << count << " " << inner);
    const int64_t in_size = outer * bound * inner, out_size = outer * count * inner;
    Buffer in = random_buffer(GetParam(), in_size, 1), out = unwritten(GetParam(), out_size);
    Buffer grad = random_buffer(GetParam(), out_size, 2), grad_in = unwritten(GetParam(), in_size);
    std::vector<int64_t> index(out_size);
    for (int64_t i = 0; i < out_size; ++i) index[i] = (i * 17 + i / 5) % bound;
    GatherArgs args{.dtype = GetParam(),
                    .in = in.data(),
                    .index = index.data(),
                    .out = out.data(),
                    .grad_out = grad.data(),
                    .grad_in = grad_in.data(),
                    .outer = outer,
                    .bound = bound,
                    .count = count,
                    .inner = inner,
                    .device = device().index()};
    cpu::gather_forward(args, stream());
    cpu::gather_backward(args, stream());
    const auto x = in.values(), g = grad.values();
    std::vector<double> want(out_size), want_in(in_size);
    for (int64_t i = 0; i < outer; ++i)
      for (int64_t j = 0; j < count; ++j)
        for (int64_t k = 0; k < inner; ++k) {
          const int64_t to = (i * count + j) * inner + k,
                        from = (i * bound + index[to]) * inner + k;
          want[to] = x[from];
          want_in[from] += g[to];
        }
    expect_close(out.values(), want, 0, "out");
    expect_close(grad_in.values(), want_in, tolerance(GetParam()), "grad_in", 3);
  }
}

TEST_P(GatherKernel, IndexOutOfRange) {
  Buffer in(GetParam(), {1, 2, 3}), out = unwritten(GetParam(), 3), grad(GetParam(), {1, 2, 4});
  Buffer grad_in = unwritten(GetParam(), 3);
  const std::vector<int64_t> index{2, 3, -1};
  GatherArgs args{.dtype = GetParam(),
                  .in = in.data(),
                  .index = index.data(),
                  .out = out.data(),
                  .grad_out = grad.data(),
                  .grad_in = grad_in.data(),
                  .outer = 1,
                  .bound = 3,
                  .count = 3,
                  .inner = 1,
                  .device = device().index()};
  cpu::gather_forward(args, stream());
  cpu::gather_backward(args, stream());
  expect_close(out.values(), {3, 0, 0}, 0, "out");
  expect_close(grad_in.values(), {0, 0, 1}, 0, "grad_in");
  EXPECT_THROW(throw_async_error(device()), Error);
}

INSTANTIATE_TEST_SUITE_P(Floating, GatherKernel, floating(), dtype_case);

TEST(GatherKernelDtype, MovesIntegersAndRefusesTheirGradient) {
  for (DType dtype : {DType::kI64, DType::kI32, DType::kU8, DType::kBool}) {
    Buffer in(dtype, {1, 0, 1}), out = unwritten(dtype, 2);
    const std::vector<int64_t> index{1, 2};
    GatherArgs args{.dtype = dtype,
                    .in = in.data(),
                    .index = index.data(),
                    .out = out.data(),
                    .outer = 1,
                    .bound = 3,
                    .count = 2,
                    .inner = 1,
                    .device = device().index()};
    cpu::gather_forward(args, stream());
    expect_close(out.values(), {0, 1}, 0, "out");
    EXPECT_THROW(cpu::gather_backward(args, stream()), Error);
  }
}

}  // namespace
}  // namespace weft::kernel_test
