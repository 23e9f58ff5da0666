// SPDX-License-Identifier: Apache-2.0
#include "controller/witness_server.hpp"

#include "controller/witness_messages.hpp"

#include <algorithm>
#include <utility>

namespace gemel {

class WitnessServer::Session final : public PeerLinkHandler {
   public:
    Session(WitnessServer& server, std::uint64_t id, std::unique_ptr<PeerLink> link,
            std::string cluster, std::string node, std::string mirror)
        : server_(server),
          id_(id),
          link_(std::move(link)),
          cluster_(std::move(cluster)),
          node_(std::move(node)),
          mirror_(std::move(mirror)) {
        link_->set_handler(*this);
    }

    [[nodiscard]] bool is_of(const std::string& cluster, const std::string& node,
                             const std::string& mirror) const noexcept {
        return cluster_ == cluster && node_ == node && mirror_ == mirror;
    }
    void close() {
        link_->close();
        server_.end(id_);
    }

    void on_frame(FrameType type, Bytes payload) noexcept override {
        if (type == FrameType::register_read) return on_read(payload);
        if (type == FrameType::register_swap) return on_swap(payload);
        close();
    }
    void on_lost(Status) noexcept override { server_.end(id_); }

    void answer(const RegisterAnswer& answer) {
        link_->send(FrameType::register_answer, encode_register_answer(answer));
        link_->flush();
    }

   private:
    void on_read(Bytes payload) {
        const Result<RegisterQuestion> question = decode_register_read(payload);
        if (!question.ok()) return close();
        if (server_.store_.has_failed()) {
            return answer({question->number,
                           RegisterAnswer::Kind::refused,
                           {},
                           "the witness's disk has failed"});
        }
        answer({question->number,
                RegisterAnswer::Kind::read,
                server_.store_.read(cluster_, question->mirror),
                {}});
    }

    void on_swap(Bytes payload) {
        const Result<RegisterQuestion> question = decode_register_swap(payload);
        if (!question.ok()) return close();
        server_.store_.swap(
            cluster_, question->mirror, question->proposal,
            [server = &server_, alive = std::weak_ptr<bool>(server_.alive_), id = id_,
             number = question->number, mirror = question->mirror, cluster = cluster_,
             node = node_](const SwapAnswer& swapped) {
                // The store may answer after the server has ended.
                if (alive.expired()) return;
                if (swapped.outcome == SwapOutcome::won) {
                    server->log_.log(LogLevel::info, cluster + ", " + mirror + ": " +
                                                         describe(swapped.current) +
                                                         " (proposed by " + node + ')');
                }
                const auto session = server->sessions_.find(id);
                // Who asked is gone: it will ask again.
                if (session == server->sessions_.end()) return;
                session->second->answer(
                    {number, kind_of(swapped.outcome), swapped.current, swapped.text});
            });
    }

    static RegisterAnswer::Kind kind_of(SwapOutcome outcome) noexcept {
        switch (outcome) {
            case SwapOutcome::won:
                return RegisterAnswer::Kind::won;
            case SwapOutcome::lost:
                return RegisterAnswer::Kind::lost;
            case SwapOutcome::unreachable:
            case SwapOutcome::unknown:
                return RegisterAnswer::Kind::refused;
        }
        return RegisterAnswer::Kind::refused;
    }

    WitnessServer& server_;
    std::uint64_t id_;
    std::unique_ptr<PeerLink> link_;
    std::string cluster_, node_, mirror_;
};

WitnessServer::WitnessServer(Loop& loop, LogSink& log, RegisterStore& store) noexcept
    : loop_(loop), log_(log), store_(store) {}

WitnessServer::~WitnessServer() = default;

void WitnessServer::on_session(std::unique_ptr<PeerLink> link, const std::string& cluster,
                               const std::string& node, const std::string& mirror) {
    const auto before = std::find_if(sessions_.begin(), sessions_.end(), [&](const auto& session) {
        return session.second->is_of(cluster, node, mirror);
    });
    if (before != sessions_.end()) before->second->close();
    const std::uint64_t id = next_id_++;
    sessions_.emplace(id,
                      std::make_unique<Session>(*this, id, std::move(link), cluster, node, mirror));
}

void WitnessServer::end(std::uint64_t id) noexcept {
    const auto session = sessions_.find(id);
    if (session == sessions_.end()) return;
    // It may be the caller: it goes when its call has returned.
    loop_.post([gone = std::shared_ptr<Session>(std::move(session->second))] {});
    sessions_.erase(session);
}

}  // namespace gemel
