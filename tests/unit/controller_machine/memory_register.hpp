// SPDX-License-Identifier: Apache-2.0
// What tests of registers without a third machine are made of.
#pragma once

#include "controller/arbiter_none.hpp"
#include "tests/unit/controller/register_samples.hpp"

#include <functional>
#include <string>
#include <vector>

namespace gemel {

inline RegisterValue register_of(std::uint64_t epoch, std::uint8_t token,
                                 const std::string& serving, std::vector<std::string> nodes) {
    RegisterValue v;
    v.epoch = epoch;
    v.serving = serving;
    for (std::string& node : nodes) v.in_sync.push_back({std::move(node), {uuid(1), uuid(2)}});
    v.token = uuid(token);
    return v;
}

class MemoryRegister final : public LocalRegister {
   public:
    explicit MemoryRegister(Loop& loop) : loop_(loop) {}
    [[nodiscard]] RegisterValue read() const override { return now; }
    void store(const RegisterValue& next, std::function<void(Status)> done) override {
        loop_.post([this, next, done = std::move(done)] {
            now = next;
            done({});
        });
    }
    RegisterValue now;

   private:
    Loop& loop_;
};

}  // namespace gemel
