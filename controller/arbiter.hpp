// SPDX-License-Identifier: Apache-2.0
// The third vote: holds one mirror's register and swaps it. A witness, etcd or the two nodes
// themselves implement it; the mirror machine uses nothing else to decide who serves.
//
// A swap whose outcome is unknown may still be carried out at any later time. It is settled only by
// proposing the very same proposal (same token) again until it is won or lost: a read that shows
// the old value settles nothing (the request may still be on its way).
#pragma once

#include "controller/register_value.hpp"
#include "engine/base/status.hpp"

#include <functional>
#include <string>

namespace gemel {

enum class SwapOutcome : std::uint8_t {
    won,          // recorded, now or when this proposal was first sent
    lost,         // not recorded now and never will be; `current` is what is
    unreachable,  // certainly not carried out and never will be: nothing left this node
    unknown,      // may be carried out, now or later: propose the same again
};

struct ReadAnswer {
    // ok; disconnected: nobody answered; refused, corrupt, foreign: the arbiter says why in `text`.
    Status status;
    // When ok; empty when nothing was ever recorded. When not ok: empty, or a copy that a forced
    // proposal may follow all the same, where there is one.
    RegisterValue current;
    std::string text;  // a sentence for people, when not ok
};
struct SwapAnswer {
    SwapOutcome outcome = SwapOutcome::unreachable;
    RegisterValue current;  // when won or lost
    std::string text;       // why not; when won: what is not certain about it, if anything
};

// One mirror's. Loop thread only. At most one call is outstanding; its callback comes exactly once,
// from the loop, never inside the call, and within a bound of the implementation's (a request that
// nobody answers ends as disconnected or unknown). No callback after destruction.
class Arbiter {
   public:
    virtual ~Arbiter() = default;
    virtual void read(std::function<void(const ReadAnswer&)> done) noexcept = 0;
    virtual void swap(const RegisterProposal& proposal,
                      std::function<void(const SwapAnswer&)> done) noexcept = 0;
    // "the witness 10.0.0.9:7801": for sentences.
    [[nodiscard]] virtual std::string name() const = 0;
};

}  // namespace gemel
