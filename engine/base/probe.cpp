// SPDX-License-Identifier: Apache-2.0
#include "engine/base/probe.hpp"

namespace gemel {

namespace {
// Probes are made before main(), so the head is a function-local zero-initialised pointer.
Probe*& head() noexcept {
    static Probe* first = nullptr;
    return first;
}
}  // namespace

Probe::Probe(const char* name) noexcept : name_(name), next_(head()) { head() = this; }

const Probe* Probe::first() noexcept { return head(); }

}  // namespace gemel
