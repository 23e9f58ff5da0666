// SPDX-License-Identifier: Apache-2.0
#include "netdev/heartbeat_on_loop.hpp"

#include <utility>

namespace gemel {

class HeartbeatOnLoop::Receiver final : public DatagramHandler {
   public:
    Receiver(HeartbeatOnLoop& owner, std::size_t link) noexcept : owner_(owner), link_(link) {}

    void on_datagram(const SocketAddress&, Bytes data) noexcept override {
        const auto verdict = owner_.engine_.receive(link_, data, owner_.loop_.now());
        if (verdict) owner_.callback_(*verdict);
    }

    std::unique_ptr<DatagramSocket> socket;

   private:
    HeartbeatOnLoop& owner_;
    std::size_t link_;
};

HeartbeatOnLoop::HeartbeatOnLoop(Loop& loop, HeartbeatEngine::Options options,
                                 std::vector<Link> links, Callback callback, Probe probe)
    : loop_(loop),
      engine_(std::move(options), loop.now()),
      links_(std::move(links)),
      callback_(std::move(callback)),
      probe_(std::move(probe)),
      timer_(loop, [this] { tick(); }) {}

HeartbeatOnLoop::~HeartbeatOnLoop() = default;

Result<std::unique_ptr<HeartbeatOnLoop>> HeartbeatOnLoop::start(Loop& loop,
                                                                HeartbeatEngine::Options options,
                                                                std::vector<Link> links,
                                                                Callback callback, Probe probe) {
    std::unique_ptr<HeartbeatOnLoop> heartbeat(new HeartbeatOnLoop(
        loop, std::move(options), std::move(links), std::move(callback), std::move(probe)));
    for (std::size_t i = 0; i < heartbeat->links_.size(); ++i) {
        auto receiver = std::make_unique<Receiver>(*heartbeat, i);
        auto socket = loop.network().bind_datagram(heartbeat->links_[i].local, *receiver);
        if (!socket.ok()) return socket.status();
        receiver->socket = std::move(socket).value();
        heartbeat->receivers_.push_back(std::move(receiver));
    }
    heartbeat->tick();
    return heartbeat;
}

void HeartbeatOnLoop::tick() {
    timer_.start(engine_.options().interval);
    const std::vector<DiskAge> ages = probe_();
    for (std::size_t link = 0; link < links_.size(); ++link) {
        for (std::size_t peer = 0; peer < links_[link].peers.size(); ++peer) {
            receivers_[link]->socket->send(links_[link].peers[peer],
                                           engine_.make(peer, link, loop_.now(), ages));
        }
    }
    for (const HeartbeatEngine::Verdict& verdict : engine_.tick(loop_.now())) callback_(verdict);
}

}  // namespace gemel
