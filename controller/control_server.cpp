// SPDX-License-Identifier: Apache-2.0
#include "controller/control_server.hpp"

#include "controller/control_requests.hpp"
#include "controller/control_socket.hpp"
#include "controller/status_json.hpp"
#include "engine/base/assert.hpp"
#include "engine/base/without_signals.hpp"

#include <microhttpd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

namespace gemel {
namespace {

constexpr std::size_t kConnectionMemory = 32 * 1024;  // request line and headers, too
constexpr unsigned kIdleTimeoutS = 60;
constexpr std::size_t kEventsMax = 1000;
constexpr std::chrono::seconds kFarewell{1};
constexpr std::string_view kStopping = "gemeld is stopping";

// One HTTP request, from its headers to the end of its answer. The HTTP thread owns it through the
// connection's context; whoever is to answer it shares it.
struct Exchange {
    MHD_Connection* connection = nullptr;
    std::string body;
    bool is_too_large = false;
    std::optional<ControlReply> reply;  // guarded by Core::mutex once handed to the loop
};
using ExchangePointer = std::shared_ptr<Exchange>;

MHD_Result send(MHD_Connection* connection, const ControlReply& reply) {
    const std::string text = reply.json + "\n";
    MHD_Response* response = MHD_create_response_from_buffer(
        text.size(), const_cast<char*>(text.data()), MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json");
    const MHD_Result result = MHD_queue_response(connection, reply.http_status, response);
    MHD_destroy_response(response);
    return result;
}

std::string argument(MHD_Connection* connection, const char* name) {
    const char* value = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
    return value == nullptr ? std::string() : std::string(value);
}

}  // namespace

// Shared by the server, the tasks it posted to the loop and the replies it handed out, which may
// outlive it. Members without a remark belong to the loop's thread.
class ControlServer::Impl : public std::enable_shared_from_this<ControlServer::Impl> {
   public:
    Impl(Loop& loop, ControlApi& api, EventLog& events)
        : loop_(loop), api_(api), events_(events), timer_(loop, [this] { answer_waiting(); }) {}

    Status start(const std::string& run_directory, std::string& sentence);
    void stop();

   private:
    // A request for events that there are none of yet.
    struct Waiting {
        ExchangePointer exchange;
        std::uint64_t since;
        Instant until;
    };

    static MHD_Result on_access(void* self, MHD_Connection* connection, const char* url,
                                const char* method, const char* version, const char* upload,
                                std::size_t* upload_size, void** context) noexcept;
    static void on_completed(void* self, MHD_Connection* connection, void** context,
                             MHD_RequestTerminationCode code) noexcept;

    // On the HTTP thread.
    MHD_Result on_request(const ExchangePointer& exchange, const char* method, const char* url);
    // False once the server is stopping.
    bool hand_over(const ExchangePointer& exchange, ControlRequest request);

    // On the loop.
    void perform(const ExchangePointer& exchange, const ControlRequest& request);
    void show_status(const ExchangePointer& exchange, const std::string& mirror);
    void run_command(const ExchangePointer& exchange, const ControlCommand& command);
    void show_events(const ExchangePointer& exchange, const ControlRequest& request);
    void answer_waiting();

    // From any thread.
    void reply(const ExchangePointer& exchange, ControlReply reply);

    Loop& loop_;
    ControlApi& api_;
    EventLog& events_;
    Timer timer_;
    std::list<Waiting> waiting_;
    MHD_Daemon* daemon_ = nullptr;
    std::string socket_path_;

    std::mutex mutex_;
    std::condition_variable all_gone_;
    std::set<ExchangePointer> open_;       // guarded: every exchange that has a connection
    std::set<ExchangePointer> suspended_;  // guarded
    bool is_stopped_ = false;              // guarded
};

Status ControlServer::Impl::start(const std::string& run_directory, std::string& sentence) {
    GEMEL_ASSERT(daemon_ == nullptr);
    socket_path_ = run_directory + "/control.sock";
    const Result<int> listening = listen_on_control_socket(run_directory, socket_path_, sentence);
    if (!listening.ok()) return listening.status();

    {
        const WithoutSignals masked;
        daemon_ = MHD_start_daemon(
            MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr,
            &on_access, this, MHD_OPTION_LISTEN_SOCKET, listening.value(),
            MHD_OPTION_CONNECTION_LIMIT, kConnectionsMax, MHD_OPTION_CONNECTION_TIMEOUT,
            kIdleTimeoutS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory,
            MHD_OPTION_NOTIFY_COMPLETED, &on_completed, this, MHD_OPTION_END);
    }
    if (daemon_ == nullptr) {
        close_control_socket(listening.value(), socket_path_);
        sentence = "cannot serve '" + socket_path_ + "': no thread for it could be made";
        return Status::from_errno(EAGAIN);
    }
    events_.set_listener([this] { answer_waiting(); });
    return {};
}

void ControlServer::Impl::stop() {
    if (daemon_ == nullptr) return;
    events_.set_listener({});
    timer_.cancel();
    waiting_.clear();
    std::set<ExchangePointer> open;
    {
        const std::lock_guard lock(mutex_);
        open = open_;
        is_stopped_ = true;
    }
    for (const ExchangePointer& exchange : open) {
        reply(exchange, ControlReply::error(503, kStopping));
    }
    {
        std::unique_lock lock(mutex_);
        all_gone_.wait_for(lock, kFarewell, [this] { return open_.empty(); });
    }
    MHD_stop_daemon(daemon_);
    daemon_ = nullptr;
    unlink_control_socket(socket_path_);
}

MHD_Result ControlServer::Impl::on_access(void* self, MHD_Connection* connection, const char* url,
                                          const char* method, const char*, const char* upload,
                                          std::size_t* upload_size, void** context) noexcept {
    auto* impl = static_cast<Impl*>(self);
    if (*context == nullptr) {
        auto exchange = std::make_shared<Exchange>();
        exchange->connection = connection;
        {
            const std::lock_guard lock(impl->mutex_);
            impl->open_.insert(exchange);
        }
        *context = new ExchangePointer(std::move(exchange));
        return MHD_YES;
    }
    const ExchangePointer exchange = *static_cast<ExchangePointer*>(*context);
    if (*upload_size != 0) {
        exchange->is_too_large |= exchange->body.size() + *upload_size > kBodySizeMax;
        if (!exchange->is_too_large) exchange->body.append(upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    return impl->on_request(exchange, method, url);
}

void ControlServer::Impl::on_completed(void* self, MHD_Connection*, void** context,
                                       MHD_RequestTerminationCode) noexcept {
    if (*context == nullptr) return;
    auto* impl = static_cast<Impl*>(self);
    auto* pointer = static_cast<ExchangePointer*>(*context);
    {
        const std::lock_guard lock(impl->mutex_);
        impl->open_.erase(*pointer);
        impl->suspended_.erase(*pointer);
        if (impl->open_.empty()) impl->all_gone_.notify_all();
    }
    delete pointer;
    *context = nullptr;
}

MHD_Result ControlServer::Impl::on_request(const ExchangePointer& exchange, const char* method,
                                           const char* url) {
    std::optional<ControlReply> ready;
    {
        const std::lock_guard lock(mutex_);
        ready = exchange->reply;
    }
    if (ready) return send(exchange->connection, *ready);
    if (exchange->is_too_large) {
        return send(exchange->connection, ControlReply::error(413, "the request is too large"));
    }
    ControlRequest request;
    const std::optional<ControlReply> at_once = parse_control_request(
        method, url, exchange->body,
        [&](const char* name) { return argument(exchange->connection, name); }, request);
    if (at_once) return send(exchange->connection, *at_once);
    if (hand_over(exchange, std::move(request))) return MHD_YES;
    return send(exchange->connection, ControlReply::error(503, kStopping));
}

bool ControlServer::Impl::hand_over(const ExchangePointer& exchange, ControlRequest request) {
    {
        const std::lock_guard lock(mutex_);
        // No connection may be suspended when the HTTP daemon ends.
        if (is_stopped_) return false;
        MHD_suspend_connection(exchange->connection);
        suspended_.insert(exchange);
    }
    loop_.run_from_any_thread([self = shared_from_this(), exchange, request = std::move(request)] {
        self->perform(exchange, request);
    });
    return true;
}

void ControlServer::Impl::reply(const ExchangePointer& exchange, ControlReply reply) {
    const std::lock_guard lock(mutex_);
    if (exchange->reply) return;
    exchange->reply = std::move(reply);
    if (suspended_.erase(exchange) != 0) MHD_resume_connection(exchange->connection);
}

void ControlServer::Impl::perform(const ExchangePointer& exchange, const ControlRequest& request) {
    if (daemon_ == nullptr) return;
    switch (request.kind) {
        case ControlRequest::Kind::status:
            return show_status(exchange, request.command.mirror);
        case ControlRequest::Kind::events:
            return show_events(exchange, request);
        case ControlRequest::Kind::command:
            return run_command(exchange, request.command);
    }
}

void ControlServer::Impl::show_status(const ExchangePointer& exchange, const std::string& mirror) {
    NodeStatus status = api_.status();
    if (!mirror.empty()) {
        std::erase_if(status.mirrors, [&](const auto& other) { return other.name != mirror; });
        if (status.mirrors.empty()) {
            return reply(exchange, ControlReply::error(404, "there is no mirror '" + mirror + "'"));
        }
    }
    reply(exchange, {200, to_json(status)});
}

void ControlServer::Impl::run_command(const ExchangePointer& exchange,
                                      const ControlCommand& command) {
    const NodeStatus status = api_.status();
    const bool is_known =
        std::any_of(status.mirrors.begin(), status.mirrors.end(),
                    [&](const MirrorStatus& mirror) { return mirror.name == command.mirror; });
    if (!is_known) {
        return reply(exchange,
                     ControlReply::error(404, "there is no mirror '" + command.mirror + "'"));
    }
    api_.command(command, [self = shared_from_this(), exchange](ControlReply answer) {
        self->reply(exchange, std::move(answer));
    });
}

void ControlServer::Impl::show_events(const ExchangePointer& exchange,
                                      const ControlRequest& request) {
    const bool is_there = events_.last_seq() > request.since;
    // A number that this log has not reached belongs to a lost one: the asker starts again.
    const bool is_ahead = request.since > events_.last_seq();
    if (is_there || is_ahead || request.wait_s == 0) {
        return reply(exchange, {200, events_to_json(events_.since(request.since, kEventsMax),
                                                    events_.last_seq())});
    }
    waiting_.push_back({exchange, request.since, loop_.now() + Duration::seconds(request.wait_s)});
    answer_waiting();
}

void ControlServer::Impl::answer_waiting() {
    std::optional<Instant> next;
    for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
        if (events_.last_seq() <= waiting->since && waiting->until > loop_.now()) {
            next = next ? std::min(*next, waiting->until) : waiting->until;
            ++waiting;
            continue;
        }
        reply(waiting->exchange,
              {200, events_to_json(events_.since(waiting->since, kEventsMax), events_.last_seq())});
        waiting = waiting_.erase(waiting);
    }
    timer_.cancel();
    if (next) timer_.start(*next - loop_.now());
}

std::string_view control_verb_name(ControlVerb verb) noexcept {
    switch (verb) {
        case ControlVerb::start:
            return "start";
        case ControlVerb::stop:
            return "stop";
        case ControlVerb::release:
            return "release";
        case ControlVerb::swap:
            return "swap";
        case ControlVerb::promote:
            return "promote";
        case ControlVerb::verify:
            return "verify";
        case ControlVerb::resync:
            return "resync";
        case ControlVerb::resize:
            return "resize";
    }
    return "unknown";
}

ControlServer::ControlServer(Loop& loop, ControlApi& api, EventLog& events)
    : impl_(std::make_shared<Impl>(loop, api, events)) {}
ControlServer::~ControlServer() { stop(); }

Status ControlServer::start(const std::string& run_directory, std::string& sentence) {
    return impl_->start(run_directory, sentence);
}

void ControlServer::stop() { impl_->stop(); }

}  // namespace gemel
