// SPDX-License-Identifier: Apache-2.0
// Probes mark rare branches, so that a test campaign can list those it never reached. Each use
// registers itself at program start and counts its hits; the counters cost one relaxed increment.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace gemel {

class Probe {
   public:
    // Requires: `name` is a string literal.
    explicit Probe(const char* name) noexcept;
    void hit() noexcept { hits_.fetch_add(1, std::memory_order_relaxed); }

    [[nodiscard]] const char* name() const noexcept { return name_; }
    [[nodiscard]] std::uint64_t hits() const noexcept {
        return hits_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] const Probe* next() const noexcept { return next_; }
    // Head of the list of all probes that the program contains, linked by next().
    static const Probe* first() noexcept;

   private:
    const char* name_;
    Probe* next_;
    std::atomic<std::uint64_t> hits_{0};
};

// The name becomes a template argument so that its probe exists before the branch is first taken.
template <std::size_t N>
struct ProbeName {
    char text[N]{};
    consteval ProbeName(const char (&literal)[N]) noexcept {  // NOLINT
        for (std::size_t i = 0; i < N; ++i) text[i] = literal[i];
    }
};
template <ProbeName Name>
struct ProbeSite {
    static inline Probe probe{Name.text};
    static void hit() noexcept { probe.hit(); }
};

}  // namespace gemel

#define GEMEL_PROBE(name) ::gemel::ProbeSite<name>::hit()
