// SPDX-License-Identifier: Apache-2.0
// Requests to the members of etcd by HTTP/1.1 or, with a certificate authority, HTTPS. libcurl
// waits, so it has a thread of its own; everything else is the loop's.
//
// Each request has a connection of its own. On one that is used again libcurl would repeat by
// itself a request whose answer did not come, and the second attempt's "Connection refused" would
// hide that the first one may have been carried out.
#pragma once

#include "controller/etcd_transport.hpp"
#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace gemel {

// Files in PEM; all empty: plain HTTP.
struct EtcdTls {
    std::string ca;           // of the members' certificates
    std::string certificate;  // this client's; empty: none
    std::string key;          // of the certificate

    [[nodiscard]] bool is_wanted() const noexcept { return !ca.empty(); }
};

class EtcdClient final : public EtcdTransport {
   public:
    // Requires: loop outlives it.
    EtcdClient(Loop& loop, const std::vector<SocketAddress>& members, EtcdTls tls);
    // Ends a request under way without waiting for its answer.
    ~EtcdClient() override;
    EtcdClient(const EtcdClient&) = delete;
    EtcdClient& operator=(const EtcdClient&) = delete;

    void ask(EtcdRequest request, std::function<void(const EtcdReply&)> done) override;

   private:
    using Done = std::function<void(const EtcdReply&)>;

    void work() noexcept;
    [[nodiscard]] EtcdReply perform(const EtcdRequest& request) noexcept;
    [[nodiscard]] bool is_stopping();

    Loop& loop_;
    std::vector<std::string> origins_;  // "http://10.0.0.1:2379", by member
    const EtcdTls tls_;
    void* easy_;                  // CURL, used by the thread only
    void* multi_;                 // CURLM; curl_multi_wakeup may be called from the loop
    std::shared_ptr<Done> done_;  // of the request under way; the loop's alone
    std::mutex mutex_;
    std::optional<EtcdRequest> request_;  // to be taken by the thread
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace gemel
