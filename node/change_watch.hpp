// SPDX-License-Identifier: Apache-2.0
// Brings the records of a change source to the mirrors, one after the other: takes one, writes
// the file systems back, hands it to every mirror, and confirms it when all have a durable note of
// what is theirs. A mirror that can't take it at the moment is asked again.
#pragma once

#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "engine/mirror/change_source.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gemel {

class ChangeWatch {
   public:
    // `is_new`: the record was not handed over before. `done` once, from the loop or inside.
    using Consumer = std::function<void(const ChangeRecord& record, bool is_new,
                                        std::function<void(bool noted)> done)>;

    // Requires: the references outlive it.
    ChangeWatch(Loop& loop, LogSink& log, std::unique_ptr<ChangeSource> source);
    ~ChangeWatch();

    [[nodiscard]] ChangeSource& source() noexcept { return *source_; }
    // Watches the file system of the directory; it stays open for the write-back.
    Result<std::size_t> watch(const std::string& directory, std::string& why);
    void add(Consumer consumer) { consumers_.push_back(std::move(consumer)); }
    // What was recorded before this process began: handed over before it returns. Waits.
    void begin();
    // Looks for news; call it every heartbeat or so.
    void poll();

   private:
    enum class Step : std::uint8_t { idle, taking, noting, refused, confirming };
    class Work;

    void take() noexcept;  // on a worker
    void taken();
    void hand_over(bool is_new);
    void noted(bool success);
    void failed(Status status, const char* what);

    Loop& loop_;
    LogSink& log_;
    std::unique_ptr<ChangeSource> source_;
    std::vector<ScopedFd> directories_;
    std::vector<Consumer> consumers_;
    std::unique_ptr<Work> work_;
    Step step_ = Step::idle;
    ChangeRecord record_;
    Status status_;
    std::size_t waiting_ = 0;
    bool all_noted_ = false;
    bool has_failed_ = false;
    bool look_again_ = false;  // what was taken may have been a record of before
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace gemel
