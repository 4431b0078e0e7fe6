// Attention, forward and backward, against a plain evaluation in double on the host: lengths with
// tails, lengths that differ, causal or not, strided and unaligned rows, every dtype and width
// class. The backward pass runs twice and must give the same bits. Rates for the shapes that the
// project compares with PyTorch.
#include <cstring>
#include <functional>

#include "cuda/attention/attention.h"
#include "cuda/gemm/gemm.h"
#include "cuda/gemm/timing.h"
#include "device_check.h"

namespace weft::check {
namespace {

struct Case {
  DType dtype;
  int batch, heads, q_len, kv_len, width;
  bool causal;
  bool heads_inside = false;  // memory is (batch, length, heads, width)
  int shift = 0;              // elements by which every operand is off its alignment
  double sharpness = 1;       // of the softmax, times 1 / sqrt(width)
};

std::string name_of(const Case& c) {
  char text[160];
  std::snprintf(text, sizeof text, "%s %dx%dx%dx%d width %d%s%s shift %d",
                fabric::dtype_name(c.dtype), c.batch, c.heads, c.q_len, c.kv_len, c.width,
                c.causal ? " causal" : "", c.heads_inside ? " heads inside" : "", c.shift);
  return std::string(text) + (c.sharpness > 1 ? " sharp" : "");
}

void put_strides(int64_t (&to)[3], const Case& c, int64_t length) {
  to[0] = c.heads * length * c.width;
  to[1] = c.heads_inside ? c.width : length * c.width;
  to[2] = c.heads_inside ? c.heads * c.width : c.width;
}

AttentionArgs shape_of(const Case& c) {
  AttentionArgs args{};
  args.dtype = c.dtype;
  args.batch = c.batch, args.heads = c.heads, args.q_len = c.q_len, args.kv_len = c.kv_len;
  args.width = c.width;
  put_strides(args.q_stride, c, c.q_len);
  put_strides(args.k_stride, c, c.kv_len);
  put_strides(args.v_stride, c, c.kv_len);
  put_strides(args.out_stride, c, c.q_len);
  put_strides(args.grad_out_stride, c, c.q_len);
  put_strides(args.grad_q_stride, c, c.q_len);
  put_strides(args.grad_k_stride, c, c.kv_len);
  put_strides(args.grad_v_stride, c, c.kv_len);
  args.scale = c.sharpness / std::sqrt(static_cast<double>(c.width));
  args.causal = c.causal;
  return args;
}

struct Reference {
  std::vector<double> out, lse, grad_q, grad_k, grad_v;
};

// `at` arrays are laid out as the device's, `shift` included.
Reference evaluate(const AttentionArgs& a, const Case& c, const std::vector<double>& q,
                   const std::vector<double>& k, const std::vector<double>& v,
                   const std::vector<double>& g) {
  Reference r{std::vector<double>(q.size()),
              {},
              std::vector<double>(q.size()),
              std::vector<double>(k.size()),
              std::vector<double>(k.size())};
  r.lse.resize(static_cast<size_t>(a.batch * a.heads * a.q_len));
  std::vector<double> p(static_cast<size_t>(a.kv_len)), dp(p.size());
  for (int64_t head = 0; head < a.batch * a.heads; ++head) {
    const int64_t b = head / a.heads, h = head % a.heads;
    const int64_t qh = c.shift + b * a.q_stride[0] + h * a.q_stride[1];
    const int64_t kh = c.shift + b * a.k_stride[0] + h * a.k_stride[1];
    for (int64_t i = 0; i < a.q_len; ++i) {
      const int64_t qi = qh + i * a.q_stride[2];
      int64_t seen = a.kv_len;
      if (a.causal) seen = std::clamp<int64_t>(i + 1 + a.kv_len - a.q_len, 0, a.kv_len);
      double top = -INFINITY, sum = 0, delta = 0;
      for (int64_t j = 0; j < seen; ++j) {
        p[j] = dp[j] = 0;
        for (int64_t d = 0; d < a.width; ++d) {
          p[j] += q[qi + d] * k[kh + j * a.k_stride[2] + d] * a.scale;
          dp[j] += g[qi + d] * v[kh + j * a.k_stride[2] + d];
        }
        top = std::max(top, p[j]);
      }
      for (int64_t j = 0; j < seen; ++j) sum += p[j] = std::exp(p[j] - top);
      r.lse[head * a.q_len + i] = seen ? top + std::log(sum) : -INFINITY;
      for (int64_t j = 0; j < seen; ++j) delta += (p[j] /= sum) * dp[j];
      for (int64_t j = 0; j < seen; ++j) {
        const int64_t kj = kh + j * a.k_stride[2];
        const double ds = p[j] * (dp[j] - delta) * a.scale;
        for (int64_t d = 0; d < a.width; ++d) {
          r.out[qi + d] += p[j] * v[kj + d];
          r.grad_q[qi + d] += ds * k[kj + d];
          r.grad_k[kj + d] += ds * q[qi + d];
          r.grad_v[kj + d] += p[j] * g[qi + d];
        }
      }
    }
  }
  return r;
}

double limit_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 1e-11;
    case DType::kF32:
      return cuda::tf32() ? 1e-2 : 1e-4;
    case DType::kF16:
      return 2e-2;
    default:
      return 1e-1;
  }
}

// The log-sum-exp is stored in f32 whatever the dtype (f64's backward pass takes it again, in f64):
// its last bit is the least error, here 2^-24 of the largest over the root mean square.
double lse_limit(DType dtype) { return std::max(limit_of(dtype), std::ldexp(1, -22)); }

void one(const Case& c, fabric::Stream& stream, Report& report) {
  AttentionArgs args = shape_of(c);
  const int64_t q_count = c.shift + args.batch * args.heads * args.q_len * args.width;
  const int64_t k_count = c.shift + args.batch * args.heads * args.kv_len * args.width;
  Buffer q(c.dtype, q_count), k(c.dtype, k_count), v(c.dtype, k_count), g(c.dtype, q_count);
  Buffer out(c.dtype, q_count), lse(DType::kF32, args.batch * args.heads * args.q_len);
  Buffer grad_q(c.dtype, q_count), grad_k(c.dtype, k_count), grad_v(c.dtype, k_count);
  const auto qs = q.randomize(1), ks = k.randomize(2), vs = v.randomize(3), gs = g.randomize(4);
  args.q = q.at(c.shift), args.k = k.at(c.shift), args.v = v.at(c.shift);
  args.out = out.at(c.shift), args.lse = static_cast<float*>(lse.at());
  args.grad_out = g.at(c.shift);
  args.grad_q = grad_q.at(c.shift), args.grad_k = grad_k.at(c.shift),
  args.grad_v = grad_v.at(c.shift);
  const Reference want = evaluate(args, c, qs, ks, vs, gs);

  std::vector<double> first[4];
  for (int round = 0; round < 2; ++round) {
    for (Buffer* to : {&out, &lse, &grad_q, &grad_k, &grad_v})
      to->write(std::vector<double>(static_cast<size_t>(to->count()), 7));
    fabric::cuda::check(cudaDeviceSynchronize(), "reset");
    cuda::attention_forward(args, stream);
    cuda::attention_backward(args, stream);
    stream.synchronize();
    const std::vector<double> got[4] = {out.read(), grad_q.read(), grad_k.read(), grad_v.read()};
    for (int i = 0; i < 4; ++i) {
      if (round == 0) first[i] = got[i];
      if (std::memcmp(first[i].data(), got[i].data(), got[i].size() * sizeof(double)))
        report.note(name_of(c) + ": bits differ between two runs", INFINITY, 0);
    }
  }
  const std::vector<double>* wants[4] = {&want.out, &want.grad_q, &want.grad_k, &want.grad_v};
  const char* names[4] = {"out", "grad_q", "grad_k", "grad_v"};
  for (int i = 0; i < 4; ++i) {
    const std::vector<double> got(first[i].begin() + c.shift, first[i].end());
    const std::vector<double> expected(wants[i]->begin() + c.shift, wants[i]->end());
    // Errors are over the root mean square: of rows that see no key it is 0.
    const bool sparse = i < 2 && c.causal && c.q_len > c.kv_len;
    const double rows = sparse ? std::sqrt(static_cast<double>(c.q_len) / c.kv_len) : 1;
    // Scores of some hundreds carry their operands' rounding into every weight: TF32's shows past its limit.
    const double sharp = c.sharpness > 1 && c.dtype == DType::kF32 && cuda::tf32() ? 10 : 1;
    report.note(name_of(c) + " " + names[i], error_of(got, expected),
                sharp * rows * limit_of(c.dtype));
  }
  report.note(name_of(c) + " lse", error_of(lse.read(), want.lse), lse_limit(c.dtype));
}

void group(DType dtype, const char* name, fabric::Stream& stream, Report& report) {
  for (int width : {32, 64, 128, 16, 80, 33}) {
    for (bool causal : {false, true}) {
      one({dtype, 2, 3, 64, 64, width, causal}, stream, report);
      one({dtype, 1, 2, 200, 200, width, causal, true}, stream, report);
      one({dtype, 1, 2, 1, 130, width, causal}, stream, report);
      one({dtype, 1, 2, 70, 150, width, causal, true}, stream, report);
      one({dtype, 1, 2, 150, 70, width, causal}, stream, report);  // causal: early queries see none
      one({dtype, 2, 1, 65, 33, width, causal, false, 1}, stream, report);
    }
  }
  one({dtype, 1, 1, 40, 40, 160, true}, stream, report);  // wider than the tensor-core kernels
  report.group(name);
}

/// Lengths near the edges of Hopper's tiles (64 rows a warpgroup, 128 or 192 a block, 64 or 128 a
/// step), every width class, rings that go round several times.
void edges(DType dtype, const char* name, fabric::Stream& stream, Report& report) {
  constexpr int kLengths[] = {1, 63, 64, 65, 127, 128, 129, 191, 192, 193, 257, 700};
  for (int width : {40, 64, 72, 128}) {
    for (bool causal : {false, true}) {
      for (int length : kLengths) one({dtype, 1, 2, length, length, width, causal}, stream, report);
      one({dtype, 2, 2, 65, 640, width, causal, true}, stream, report);
      one({dtype, 2, 2, 640, 65, width, causal, true}, stream, report);
      // Scores of some hundreds: what is past the last key must not overflow.
      one({dtype, 1, 2, 100, 100, width, causal, false, 0, 60}, stream, report);
    }
  }
  report.group(name);
}

/// Lengths near the edges of warps and blocks that take a head whole, and past the longest.
void short_heads(DType dtype, const char* name, fabric::Stream& stream, Report& report) {
  constexpr int kLengths[] = {1, 15, 16, 17, 48, 63, 64, 65, 79, 80, 81, 95, 96, 97, 127, 128, 129};
  for (int width : {32, 16, 20, 7}) {
    for (bool causal : {false, true}) {
      for (int length : kLengths) {
        one({dtype, 2, 3, length, length, width, causal, true}, stream, report);
        one({dtype, 1, 2, length, 50, width, causal}, stream, report);
        one({dtype, 1, 2, 50, length, width, causal, true}, stream, report);
      }
      one({dtype, 1, 2, 100, 100, width, causal, false, 1}, stream, report);
      one({dtype, 1, 2, 100, 100, width, causal, false, 0, 60}, stream, report);
    }
  }
  report.group(name);
}

}  // namespace

void check_attention(fabric::Stream& stream, Report& report) {
  short_heads(DType::kBF16, "short heads bf16", stream, report);
  short_heads(DType::kF16, "short heads f16", stream, report);
  short_heads(DType::kF32, "short heads tf32", stream, report);
  for (bool sm90 : {true, false}) {
    cuda::use_sm90_attention(sm90);
    cuda::use_whole_head_attention(sm90);  // the others meet the same cases
    group(DType::kBF16, sm90 ? "attention bf16" : "attention bf16, for every GPU", stream, report);
    group(DType::kF16, sm90 ? "attention f16" : "attention f16, for every GPU", stream, report);
    edges(DType::kBF16, sm90 ? "edges bf16" : "edges bf16, for every GPU", stream, report);
    edges(DType::kF16, sm90 ? "edges f16" : "edges f16, for every GPU", stream, report);
  }
  cuda::use_sm90_attention(true);
  cuda::use_whole_head_attention(true);
  group(DType::kF32, "attention tf32", stream, report);
  cuda::set_tf32(false);
  group(DType::kF32, "attention exact f32", stream, report);
  cuda::set_tf32(true);
  group(DType::kF64, "attention f64", stream, report);
}

void time_attention(fabric::Stream& stream) {
  struct Shape {
    int batch, heads, length, width;
  };
  constexpr Shape kShapes[] = {{32, 12, 1024, 64}, {4, 16, 8192, 64}, {16, 16, 1024, 128},
                               {4, 16, 8192, 128}, {64, 6, 256, 64},  {64, 8, 128, 32},
                               {256, 8, 80, 32},   {64, 4, 64, 32}};
  struct Kernels {
    DType dtype;
    bool sm90, whole;
    const char* name;
  };
  for (const Kernels& kernels : {Kernels{DType::kBF16, true, true, "bf16"},
                                 Kernels{DType::kBF16, true, false, "bf16, tiles alone,"},
                                 Kernels{DType::kBF16, false, false, "bf16, for every GPU,"},
                                 Kernels{DType::kF32, true, true, "tf32"},
                                 Kernels{DType::kF32, true, false, "tf32, tiles alone,"}}) {
    cuda::use_sm90_attention(kernels.sm90);
    cuda::use_whole_head_attention(kernels.whole);
    for (const Shape& s : kShapes) {
      if (!kernels.whole && kernels.sm90 && s.width > 32) continue;
      const Case c{kernels.dtype, s.batch, s.heads, s.length, s.length, s.width, true, true};
      AttentionArgs args = shape_of(c);
      const int64_t count = args.batch * args.heads * args.q_len * args.width;
      Buffer q(c.dtype, count), k(c.dtype, count), v(c.dtype, count), g(c.dtype, count);
      Buffer out(c.dtype, count), grad_q(c.dtype, count), grad_k(c.dtype, count);
      Buffer grad_v(c.dtype, count), lse(DType::kF32, args.batch * args.heads * args.q_len);
      q.scatter(), k.scatter(), v.scatter(), g.scatter();
      args.q = q.at(), args.k = k.at(), args.v = v.at(), args.out = out.at();
      args.lse = static_cast<float*>(lse.at());
      args.grad_out = g.at();
      args.grad_q = grad_q.at(), args.grad_k = grad_k.at(), args.grad_v = grad_v.at();
      const std::vector<double> ms =
          cuda::time_in_turn({[&] { cuda::attention_forward(args, stream); },
                              [&] { cuda::attention_backward(args, stream); }},
                             5, 3, stream);
      // Half of the products are masked; the backward pass needs five where the forward needs two.
      const double work = 2.0 * args.batch * args.heads * args.q_len * args.q_len * args.width;
      std::printf("%s %dx%dx%dx%d causal: forward %.1f us %.0f TFLOP/s, backward %.1f us %.0f\n",
                  kernels.name, s.batch, s.heads, s.length, s.width, ms[0] * 1e3,
                  work / ms[0] / 1e9, ms[1] * 1e3, 2.5 * work / ms[1] / 1e9);
      std::fflush(stdout);
    }
  }
  cuda::use_sm90_attention(true);
  cuda::use_whole_head_attention(true);
}

}  // namespace weft::check
