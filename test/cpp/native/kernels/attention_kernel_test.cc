// Attention, forward and backward, against a reference in double that holds the whole score matrix;
// the reference's gradients against finite differences through the f64 kernel.
#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

struct Shape {
  int64_t batch, heads, q_len, kv_len, width;
  bool causal = false;
  bool heads_inside =
      false;  // memory is (batch, length, heads, width), as a fused projection leaves it
};

void set_strides(int64_t* stride, const Shape& s, int64_t length) {
  stride[0] = s.heads * length * s.width;
  stride[1] = s.heads_inside ? s.width : length * s.width;
  stride[2] = s.heads_inside ? s.heads * s.width : s.width;
}

struct Tensors {
  std::vector<double> out, lse, grad_q, grad_k, grad_v;
};

Tensors reference(const std::vector<double>& q, const std::vector<double>& k,
                  const std::vector<double>& v, const std::vector<double>& grad,
                  const AttentionArgs& a) {
  Tensors t{std::vector<double>(q.size()),
            {},
            std::vector<double>(q.size()),
            std::vector<double>(k.size()),
            std::vector<double>(k.size())};
  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t i = 0; i < a.q_len; ++i) {
        const int64_t qi = b * a.q_stride[0] + h * a.q_stride[1] + i * a.q_stride[2];
        const int64_t kv = b * a.k_stride[0] + h * a.k_stride[1];
        const int64_t seen =
            a.causal ? std::clamp<int64_t>(i + 1 + a.kv_len - a.q_len, 0, a.kv_len) : a.kv_len;
        std::vector<double> p(seen), dp(seen);
        double sum = 0, dot = 0;
        for (int64_t j = 0; j < seen; ++j) {
          for (int64_t x = 0; x < a.width; ++x)
            p[j] += a.scale * q[qi + x] * k[kv + j * a.k_stride[2] + x];
          p[j] = std::exp(p[j]);
          sum += p[j];
        }
        t.lse.push_back(std::log(sum));
        for (int64_t j = 0; j < seen; ++j) {
          p[j] /= sum;
          for (int64_t x = 0; x < a.width; ++x) {
            t.out[qi + x] += p[j] * v[kv + j * a.k_stride[2] + x];
            dp[j] += grad[qi + x] * v[kv + j * a.k_stride[2] + x];
            t.grad_v[kv + j * a.k_stride[2] + x] += p[j] * grad[qi + x];
          }
          dot += p[j] * dp[j];
        }
        for (int64_t j = 0; j < seen; ++j)
          for (int64_t x = 0; x < a.width; ++x) {
            const double ds = p[j] * (dp[j] - dot) * a.scale;
            t.grad_q[qi + x] += ds * k[kv + j * a.k_stride[2] + x];
            t.grad_k[kv + j * a.k_stride[2] + x] += ds * q[qi + x];
          }
      }
  return t;
}

AttentionArgs arguments(DType dtype, const Shape& s) {
  AttentionArgs a{};
  a.dtype = dtype;
  a.batch = s.batch, a.heads = s.heads, a.q_len = s.q_len, a.kv_len = s.kv_len, a.width = s.width;
  for (auto* stride : {a.q_stride, a.out_stride, a.grad_out_stride, a.grad_q_stride})
    set_strides(stride, s, s.q_len);
  for (auto* stride : {a.k_stride, a.v_stride, a.grad_k_stride, a.grad_v_stride})
    set_strides(stride, s, s.kv_len);
  a.scale = 1 / std::sqrt(static_cast<double>(s.width));
  a.causal = s.causal;
  return a;
}

class AttentionKernel : public ::testing::TestWithParam<DType> {};

TEST_P(AttentionKernel, ForwardAndBackward) {
  for (Shape s : {Shape{2, 3, 49, 49, 16}, Shape{1, 1, 1, 1, 1}, Shape{1, 2, 130, 70, 8},
                  Shape{1, 2, 70, 130, 8}, Shape{8, 2, 65, 600, 4}, Shape{1, 1, 200, 530, 12},
                  Shape{1, 2, 5, 0, 4}, Shape{1, 2, 0, 5, 4}})
    for (bool causal : {false, true})
      for (bool inside : {false, true}) {
        s.causal = causal, s.heads_inside = inside;
        SCOPED_TRACE(::testing::Message()
                     << s.batch << " " << s.heads << " " << s.q_len << " " << s.kv_len << " "
                     << s.width << " causal " << causal << " inside " << inside);
        const DType dtype = GetParam();
        const int64_t q_size = s.batch * s.heads * s.q_len * s.width,
                      k_size = s.batch * s.heads * s.kv_len * s.width;
        Buffer q = random_buffer(dtype, q_size, 1), k = random_buffer(dtype, k_size, 2),
               v = random_buffer(dtype, k_size, 3);
        Buffer grad = random_buffer(dtype, q_size, 4), out = unwritten(dtype, q_size);
        Buffer gq = unwritten(dtype, q_size), gk = unwritten(dtype, k_size),
               gv = unwritten(dtype, k_size);
        Buffer lse = unwritten(DType::kF32, s.batch * s.heads * s.q_len);
        AttentionArgs a = arguments(dtype, s);
        a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.lse = lse.as<float>();
        a.grad_out = grad.data(), a.grad_q = gq.data(), a.grad_k = gk.data(), a.grad_v = gv.data();
        cpu::attention_forward(a, stream());
        cpu::attention_backward(a, stream());
        const Tensors want = reference(q.values(), k.values(), v.values(), grad.values(), a);
        const double t = tolerance(dtype);
        expect_close(out.values(), want.out, t, "out");
        expect_close(lse.values(), want.lse, 2e-5, "lse");
        // The gradients of halves also see the rounding of the stored output.
        expect_close(gq.values(), want.grad_q, t, "grad_q", 2);
        expect_close(gk.values(), want.grad_k, t, "grad_k", 3);
        expect_close(gv.values(), want.grad_v, t, "grad_v", 3);
      }
}

TEST_P(AttentionKernel, GradientsOfOneOperandOnly) {
  const Shape s{1, 1, 70, 20, 4};
  Buffer q = random_buffer(GetParam(), 280, 1), k = random_buffer(GetParam(), 80, 2),
         v = random_buffer(GetParam(), 80, 3);
  Buffer grad = random_buffer(GetParam(), 280, 4), out = unwritten(GetParam(), 280),
         gv = unwritten(GetParam(), 80);
  Buffer lse = unwritten(DType::kF32, 70);
  AttentionArgs a = arguments(GetParam(), s);
  a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.lse = lse.as<float>();
  a.grad_out = grad.data(), a.grad_v = gv.data();
  cpu::attention_forward(a, stream());
  cpu::attention_backward(a, stream());
  const Tensors want = reference(q.values(), k.values(), v.values(), grad.values(), a);
  expect_close(gv.values(), want.grad_v, tolerance(GetParam()), "grad_v", 3);
}

INSTANTIATE_TEST_SUITE_P(Floating, AttentionKernel, floating(), dtype_case);

TEST(AttentionKernelGradient, FiniteDifferences) {
  for (bool causal : {false, true}) {
    const Shape s{.batch = 1, .heads = 2, .q_len = 3, .kv_len = 4, .width = 2, .causal = causal};
    AttentionArgs a = arguments(DType::kF64, s);
    auto q = normal(12, 1), k = normal(16, 2), v = normal(16, 3);
    const auto grad = normal(12, 4);
    Buffer bq(DType::kF64, q), bk(DType::kF64, k), bv(DType::kF64, v), bg(DType::kF64, grad);
    Buffer out = unwritten(DType::kF64, 12), lse = unwritten(DType::kF32, 6);
    Buffer gq = unwritten(DType::kF64, 12), gk = unwritten(DType::kF64, 16),
           gv = unwritten(DType::kF64, 16);
    a.q = bq.data(), a.k = bk.data(), a.v = bv.data(), a.out = out.data(), a.lse = lse.as<float>();
    a.grad_out = bg.data(), a.grad_q = gq.data(), a.grad_k = gk.data(), a.grad_v = gv.data();
    cpu::attention_forward(a, stream());
    cpu::attention_backward(a, stream());
    auto objective = [&] {
      const auto y = reference(q, k, v, grad, a).out;
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += grad[i] * y[i];
      return sum;
    };
    auto differences = [&](std::vector<double>& of) {
      std::vector<double> d(of.size());
      for (size_t i = 0; i < of.size(); ++i) {
        const double at = of[i];
        of[i] = at + 1e-5;
        d[i] = objective();
        of[i] = at - 1e-5;
        d[i] = (d[i] - objective()) / 2e-5;
        of[i] = at;
      }
      return d;
    };
    expect_close(gq.values(), differences(q), 1e-8, "grad_q");
    expect_close(gk.values(), differences(k), 1e-8, "grad_k");
    expect_close(gv.values(), differences(v), 1e-8, "grad_v");
  }
}

}  // namespace
}  // namespace weft::kernel_test
