// SPDX-License-Identifier: Apache-2.0
// The registers that a witness keeps, for any number of clusters and mirrors, each in a file of its
// own: a new value is written beside, synced, renamed over and the directory synced before anybody
// hears of it. So after a crash a register has its old or its new value, and the new one if it was
// answered.
//
// A store whose disk is lost answers "nothing recorded"; nodes that know better refuse that
// (a register older than their own durable epoch), so the loss is loud.
#pragma once

#include "controller/arbiter.hpp"
#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace gemel {

class RegisterStore final : private Job {
   public:
    // Reads every register in `directory` (absolute, exists). Waits for the disk. A damaged file is
    // refused with a sentence: a forgotten register is worse than a witness that does not start.
    static Result<std::unique_ptr<RegisterStore>> open(Loop& loop, LogSink& log,
                                                       const std::string& directory,
                                                       std::string& why);
    ~RegisterStore() override;

    // Empty when nothing was ever recorded.
    [[nodiscard]] RegisterValue read(const std::string& cluster, const std::string& mirror) const;
    // won or lost, durable, or unknown after a failure of the disk, from which on every swap is
    // unreachable. `done` comes from the loop, in the order of the calls.
    void swap(const std::string& cluster, const std::string& mirror,
              const RegisterProposal& proposal, std::function<void(const SwapAnswer&)> done);
    // The disk has failed: what it has is not known, and nobody may be told a value any more.
    [[nodiscard]] bool has_failed() const noexcept { return failed_; }
    // Mirrors of the cluster that something is recorded of.
    [[nodiscard]] std::size_t count(const std::string& cluster) const noexcept;

   private:
    using Key = std::pair<std::string, std::string>;  // cluster, mirror
    struct Swap {
        Key key;
        RegisterProposal proposal;
        std::function<void(const SwapAnswer&)> done;
    };

    RegisterStore(Loop& loop, LogSink& log, ScopedFd directory) noexcept
        : loop_(loop), log_(log), directory_(std::move(directory)) {}
    Status load(std::string& why);
    Status load_one(const std::string& name, std::string& why);
    void begin_next();
    void answer(SwapOutcome outcome, std::string text = {});

    void run() noexcept override;
    void done() noexcept override;

    Loop& loop_;
    LogSink& log_;
    ScopedFd directory_;
    std::map<Key, RegisterValue> values_;
    std::deque<Swap> queue_;  // the front is being judged or written
    ByteBuffer image_;        // of the file being written
    std::string file_name_;
    Status status_;
    bool failed_ = false;
};

}  // namespace gemel
