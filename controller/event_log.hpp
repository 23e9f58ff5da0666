// SPDX-License-Identifier: Apache-2.0
// What happened on this node, newest last: state changes with their reason, failures, resyncs with
// their figures. The last events are kept in memory; all are appended to `<state>/events.jsonl`,
// one JSON object a line, which becomes `events.jsonl.1` when it has reached its size. Numbers go
// on across restarts. The file informs people and is no part of any promise: it is not synced, and
// a disk that cannot take it loses the line, never the daemon (dropped() counts).
//
// On the daemon's loop only.
#pragma once

#include "engine/base/status.hpp"
#include "engine/base/units.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel {

struct Event {
    std::uint64_t seq = 0;  // 1, 2, 3, ... on this node
    WallTime time;
    std::string mirror;  // empty: concerns the whole node
    std::string kind;    // one word: "state", "failure", "resync", "application", "command", ...
    std::string text;    // a sentence for people
    // Figures and names for programs, as texts, in this order.
    std::vector<std::pair<std::string, std::string>> fields;
};

// One JSON object in one line: {"seq","time","mirror","kind","text","fields":{...}}.
std::string to_json(const Event& event);
// {"events":[...],"last":N}, the answer of GET /v1/events.
std::string events_to_json(const std::vector<Event>& events, std::uint64_t last_seq);

class EventLog {
   public:
    struct Options {
        std::size_t kept_max = 1000;             // in memory
        std::uint64_t file_size_max = 4u << 20;  // bytes of events.jsonl before it is rotated
    };

    // Events in memory only, until open().
    explicit EventLog(const Options& options);
    EventLog();
    ~EventLog();
    EventLog(const EventLog&) = delete;
    EventLog& operator=(const EventLog&) = delete;

    // Goes on with `<directory>/events.jsonl`: takes up its last events and their numbers, skipping
    // lines that are damaged. Requires: nothing added yet. Errors: the kernel's, of opening the
    // file.
    Status open(const std::string& directory);

    // Gives the event the next number, keeps and appends it, then calls the listeners.
    void add(WallTime time, std::string mirror, std::string kind, std::string text,
             std::vector<std::pair<std::string, std::string>> fields = {});

    // Events with a number above `seq`, oldest first; at most the newest `count_max` of them.
    [[nodiscard]] std::vector<Event> since(std::uint64_t seq, std::size_t count_max) const;
    [[nodiscard]] std::uint64_t last_seq() const noexcept { return next_seq_ - 1; }
    [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

    // `listener` is called after each add(), until the log ends. It may not add.
    void set_listener(std::function<void()> listener) { listener_ = std::move(listener); }

   private:
    void load(const std::string& path);
    void append(const std::string& line);
    void rotate();

    Options options_;
    std::deque<Event> kept_;
    std::uint64_t next_seq_ = 1;
    std::string directory_;
    int file_ = -1;
    std::uint64_t file_size_ = 0;
    std::uint64_t dropped_ = 0;
    std::function<void()> listener_;
};

}  // namespace gemel
