// SPDX-License-Identifier: Apache-2.0
#include "controller/event_log.hpp"

#include "controller/status_json.hpp"
#include "engine/base/assert.hpp"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace gemel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFileName = "/events.jsonl";

Json event_json(const Event& event) {
    Json fields = Json::object();
    for (const auto& [name, value] : event.fields) fields[name] = value;
    return Json{{"seq", event.seq},       {"time", format_wall_time(event.time)},
                {"mirror", event.mirror}, {"kind", event.kind},
                {"text", event.text},     {"fields", std::move(fields)}};
}

std::string dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<Event> event_of(const std::string& line) {
    try {
        const Json json = Json::parse(line);
        Event event;
        event.seq = json.at("seq").get<std::uint64_t>();
        event.time = parse_wall_time(json.at("time").get<std::string>()).value_or(WallTime{});
        event.mirror = json.at("mirror").get<std::string>();
        event.kind = json.at("kind").get<std::string>();
        event.text = json.at("text").get<std::string>();
        for (const auto& [name, value] : json.at("fields").items()) {
            event.fields.emplace_back(name, value.get<std::string>());
        }
        return event;
    } catch (const Json::exception&) {
        return std::nullopt;
    }
}

}  // namespace

std::string to_json(const Event& event) { return dump(event_json(event)); }

std::string events_to_json(const std::vector<Event>& events, std::uint64_t last_seq) {
    Json list = Json::array();
    for (const Event& event : events) list.push_back(event_json(event));
    return dump(Json{{"events", std::move(list)}, {"last", last_seq}});
}

EventLog::EventLog(const Options& options) : options_(options) {}
EventLog::EventLog() : EventLog(Options{}) {}

EventLog::~EventLog() {
    if (file_ >= 0) close(file_);
}

Status EventLog::open(const std::string& directory) {
    GEMEL_ASSERT(next_seq_ == 1 && file_ < 0);
    const std::string path = directory + kFileName;
    load(path + ".1");
    load(path);
    file_ = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file_ < 0) return Status::from_errno(errno);
    directory_ = directory;
    struct stat info {};
    if (fstat(file_, &info) == 0) file_size_ = static_cast<std::uint64_t>(info.st_size);
    char last = '\n';
    const bool has_last = file_size_ > 0 && pread(file_, &last, 1, info.st_size - 1) == 1;
    // A line torn by a power cut must not swallow the next one.
    if (has_last && last != '\n') append("\n");
    return {};
}

void EventLog::load(const std::string& path) {
    std::ifstream input(path);
    std::string line;
    while (std::getline(input, line)) {
        std::optional<Event> event = event_of(line);
        if (!event || event->seq < next_seq_) continue;
        next_seq_ = event->seq + 1;
        kept_.push_back(std::move(*event));
        if (kept_.size() > options_.kept_max) kept_.pop_front();
    }
}

void EventLog::add(WallTime time, std::string mirror, std::string kind, std::string text,
                   std::vector<std::pair<std::string, std::string>> fields) {
    Event event{next_seq_++,      time, std::move(mirror), std::move(kind), std::move(text),
                std::move(fields)};
    if (!directory_.empty()) append(to_json(event) + "\n");
    kept_.push_back(std::move(event));
    if (kept_.size() > options_.kept_max) kept_.pop_front();
    if (listener_) listener_();
}

void EventLog::append(const std::string& line) {
    if (file_size_ > 0 && file_size_ + line.size() > options_.file_size_max) rotate();
    const ssize_t written = file_ < 0 ? -1 : write(file_, line.data(), line.size());
    if (written > 0) file_size_ += static_cast<std::uint64_t>(written);
    if (written != static_cast<ssize_t>(line.size())) ++dropped_;
}

void EventLog::rotate() {
    const std::string path = directory_ + kFileName;
    if (rename(path.c_str(), (path + ".1").c_str()) != 0) return;
    if (file_ >= 0) close(file_);
    file_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    file_size_ = 0;
}

std::vector<Event> EventLog::since(std::uint64_t seq, std::size_t count_max) const {
    std::size_t count = 0;
    while (count < kept_.size() && count < count_max && kept_[kept_.size() - 1 - count].seq > seq) {
        ++count;
    }
    return {kept_.end() - static_cast<std::ptrdiff_t>(count), kept_.end()};
}

}  // namespace gemel
