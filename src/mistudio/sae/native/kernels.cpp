// The sparse search and products of mistudio.sae in one pass each. Optional: PyTorch does the same without it.
//
// Plain C interface, float32 on the CPU, rows contiguous. Work is split over tokens in fixed order and no sum
// crosses threads, so results do not depend on how many there are.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

typedef float lanes __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;

inline lanes load(const float* from) {
  lanes out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

inline float sum(lanes v) {
  for (int width = 8; width; width /= 2)
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  return v[0];
}

inline float dot(const float* a, const float* b, int64_t d) {
  lanes low = {}, high = {};
  int64_t j = 0;
  for (; j + 2 * kLanes <= d; j += 2 * kLanes) {
    low += load(a + j) * load(b + j);
    high += load(a + j + kLanes) * load(b + j + kLanes);
  }
  float rest = 0;
  for (; j < d; ++j) rest += a[j] * b[j];
  return sum(low + high) + rest;
}

float from_bfloat16(uint16_t v) {
  uint32_t bits = static_cast<uint32_t>(v) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

uint16_t to_bfloat16(float v) {  // to the nearest, ties to even, like PyTorch
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  if (v != v) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void widen(const uint16_t* from, int64_t m, float* out) {
  for (int64_t i = 0; i < m; ++i) out[i] = from_bfloat16(from[i]);
}

// What rounding a value of this size to bfloat16 may have changed, and more.
float rounding(float at) { return std::fabs(at) * 0x1p-8f; }

struct Entry {
  float value;
  int32_t index;
};

inline bool stronger(const Entry& a, const Entry& b) {
  return a.value != b.value ? a.value > b.value : a.index < b.index;
}

// A lower bound of the k-th largest of m values: the k-th largest of the maxima of groups, found by bisection.
float lower_bound(const float* values, int64_t m, int64_t k, std::vector<float>& maxima) {
  const int64_t groups = std::min(m, (16 * k + 63) / 64 * 64);
  maxima.assign(values, values + groups);
  float* most = maxima.data();
  for (int64_t from = groups; from < m; from += groups) {
    const int64_t width = std::min(groups, m - from);
    for (int64_t j = 0; j < width; ++j) most[j] = std::max(most[j], values[from + j]);
  }
  float low = most[0], high = most[0];
  for (int64_t j = 1; j < groups; ++j) low = std::min(low, most[j]), high = std::max(high, most[j]);
  for (int step = 0; step < 14; ++step) {
    const float middle = low + (high - low) / 2;
    int32_t count = 0;
    for (int64_t j = 0; j < groups; ++j) count += most[j] >= middle;
    (count >= k ? low : high) = middle;
  }
  return low;
}

// Which of 16 values are at least `bound`, as bits.
inline unsigned reached(const float* values, float bound) {
#ifdef __AVX512F__
  return _mm512_cmp_ps_mask(_mm512_loadu_ps(values), _mm512_set1_ps(bound), _CMP_GE_OQ);
#else
  unsigned hits = 0;
  for (int j = 0; j < kLanes; ++j) hits |= static_cast<unsigned>(values[j] >= bound) << j;
  return hits;
#endif
}

void collect(const float* values, int64_t m, float bound, std::vector<Entry>& out) {
  out.clear();
  int64_t i = 0;
  for (; i + kLanes <= m; i += kLanes)
    for (unsigned hits = reached(values + i, bound); hits; hits &= hits - 1) {
      const int64_t at = i + __builtin_ctz(hits);
      out.push_back({values[at], static_cast<int32_t>(at)});
    }
  for (; i < m; ++i)
    if (values[i] >= bound) out.push_back({values[i], static_cast<int32_t>(i)});
}

struct Found {
  std::vector<std::vector<float>> values;
  std::vector<std::vector<int64_t>> indices;
};

}  // namespace

extern "C" {

// Rows of `from` [n, d] in bfloat16, with each row's length and the length of what rounding dropped [n].
void mistudio_round_rows(const float* from, int64_t n, int64_t d, uint16_t* low, float* norm, float* error,
                         int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t r = 0; r < n; ++r) {
    const float* row = from + r * d;
    float whole = 0, lost = 0;
#pragma omp simd reduction(+ : whole, lost)
    for (int64_t j = 0; j < d; ++j) {
      const uint16_t rounded = to_bfloat16(row[j]);
      low[r * d + j] = rounded;
      const float off = row[j] - from_bfloat16(rounded);
      whole += row[j] * row[j];
      lost += off * off;
    }
    norm[r] = std::sqrt(whole);
    error[r] = std::sqrt(lost);
  }
}

// The k largest positive entries of x·Wᵀ + b for tokens [n], from bfloat16 pre-activations [n, m] that were off by
// at most `slack` [n] before they were rounded. Places without a positive entry hold 0, as do
// tokens whose slack is not finite. Returns how many entries were computed exactly.
int64_t mistudio_top_k(const uint16_t* product, const float* slack, const float* x, const float* W,
                       const float* b, int64_t n, int64_t m, int64_t d, int64_t k, float* values,
                       int64_t* indices, int threads) {
  int64_t computed = 0;
#pragma omp parallel num_threads(threads) reduction(+ : computed)
  {
    std::vector<float> rough(m), maxima;
    std::vector<Entry> some;
#pragma omp for schedule(static)
    for (int64_t t = 0; t < n; ++t) {
      std::fill_n(values + t * k, k, 0.0f);
      std::fill_n(indices + t * k, k, 0);
      if (!std::isfinite(slack[t])) continue;  // for the caller to do; not-a-numbers cannot be ordered
      widen(product + t * m, m, rough.data());
      const auto settle = [&](Entry& e) {
        e.value = dot(x + t * d, W + e.index * d, d) + b[e.index];
        ++computed;
      };
      const float positive = -slack[t] - rounding(slack[t]);
      float least = lower_bound(rough.data(), m, k, maxima);
      least -= 2 * slack[t] + 2 * rounding(std::fabs(least) + 2 * slack[t]);
      collect(rough.data(), m, std::max(least, positive), some);
      auto middle = some.begin() + std::min<int64_t>(k, some.size());
      std::nth_element(some.begin(), middle, some.end(), stronger);
      std::for_each(some.begin(), middle, settle);
      if (middle != some.end()) {
        // exactly known entries give a higher bound than the approximate ones did
        float kth = std::min_element(some.begin(), middle, [](const Entry& a, const Entry& c) {
                      return a.value < c.value;
                    })->value;
        kth -= slack[t];
        kth -= rounding(kth);
        auto end = std::partition(middle, some.end(), [kth](const Entry& e) { return e.value >= kth; });
        std::for_each(middle, end, settle);
        some.erase(end, some.end());
        if (static_cast<int64_t>(some.size()) > k) {
          std::nth_element(some.begin(), some.begin() + k, some.end(), stronger);
          some.resize(k);
        }
      }
      std::sort(some.begin(), some.end(), [](const Entry& a, const Entry& c) { return a.index < c.index; });
      for (size_t j = 0; j < some.size(); ++j) {
        values[t * k + j] = some[j].value;
        indices[t * k + j] = some[j].index;
      }
    }
  }
  return computed;
}

// All entries of x·Wᵀ + b for tokens [n] that exceed `threshold` [1 or m] (times `norms` [m], unless null),
// from bfloat16 approximations [n, m] of what it exceeds it by, raised, that are at least `bound` [n] where they may.
// Null when more than `most` entries would have to be computed exactly. Give the result to mistudio_take.
void* mistudio_above(const uint16_t* product, const float* bound, const float* x, const float* W,
                     const float* b, const float* norms, const float* threshold, int64_t per_latent,
                     int64_t n, int64_t m, int64_t d, int64_t most, int64_t* counts, int threads) {
  auto found = std::make_unique<Found>();
  found->values.resize(threads);
  found->indices.resize(threads);
  int64_t computed = 0;
  const int64_t share = (n + threads - 1) / threads;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : computed)
  for (int part = 0; part < threads; ++part) {
    std::vector<float> rough(m);
    std::vector<Entry> some;
    std::vector<float>& values = found->values[part];
    std::vector<int64_t>& indices = found->indices[part];
    for (int64_t t = part * share; t < std::min(n, (part + 1) * share) && computed <= most; ++t) {
      widen(product + t * m, m, rough.data());
      collect(rough.data(), m, bound[t], some);
      computed += some.size();
      if (computed > most) break;
      const size_t before = values.size();
      for (const Entry& e : some) {
        const float value = dot(x + t * d, W + e.index * d, d) + b[e.index];
        const float ranked = norms ? value * norms[e.index] : value;
        if (ranked > threshold[per_latent ? e.index : 0]) {
          values.push_back(value);
          indices.push_back(e.index);
        }
      }
      counts[t] = values.size() - before;
    }
  }
  return computed > most ? nullptr : found.release();
}

void mistudio_take(void* handle, float* values, int64_t* indices) {
  std::unique_ptr<Found> found(static_cast<Found*>(handle));
  for (size_t part = 0; part < found->values.size(); ++part) {
    values = std::copy(found->values[part].begin(), found->values[part].end(), values);
    indices = std::copy(found->indices[part].begin(), found->indices[part].end(), indices);
  }
}

// ⟨rows[t], W[i]⟩ for every entry of compressed rows: [nnz].
void mistudio_products(const int64_t* offsets, const int64_t* indices, const float* rows, const float* W,
                       int64_t n, int64_t d, float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t t = 0; t < n; ++t)
    for (int64_t e = offsets[t]; e < offsets[t + 1]; ++e)
      out[e] = dot(rows + t * d, W + indices[e] * d, d);
}

}  // extern "C"
