// SPDX-License-Identifier: Apache-2.0
#include "controller/etcd_client.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/without_signals.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>
#include <pthread.h>
#include <utility>

namespace gemel {

namespace {

// A register is a few hundred bytes; whoever else answers there shall not fill our memory.
constexpr std::size_t kBodySizeMax = 64 << 10;
constexpr int kWaitMs = 60'000;  // a wake-up ends every wait

std::size_t append_body(char* data, std::size_t, std::size_t size, void* body) {
    auto* text = static_cast<std::string*>(body);
    if (text->size() + size > kBodySizeMax) return 0;
    text->append(data, size);
    return size;
}

long to_ms(Duration time) noexcept {
    return static_cast<long>(std::max<std::int64_t>(time.ns / 1'000'000, 1));
}

// Nothing of the request has left this node.
bool never_left(CURL* easy) noexcept {
    long size = -1;  // what was sent of it
    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &size);
    return size == 0;
}

std::string describe_error(CURL* easy, CURLcode code, const char* detail) {
    long error = 0;
    if (code == CURLE_COULDNT_CONNECT) curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
    if (error != 0) return std::strerror(static_cast<int>(error));
    if (code == CURLE_OPERATION_TIMEDOUT) return "no answer in time";
    if (code == CURLE_WRITE_ERROR) return "answered more than a register can be";
    return detail[0] != '\0' ? detail : curl_easy_strerror(code);
}

}  // namespace

EtcdClient::EtcdClient(Loop& loop, const std::vector<SocketAddress>& members, EtcdTls tls)
    : loop_(loop),
      tls_(std::move(tls)),
      easy_(curl_easy_init()),
      multi_(curl_multi_init()),
      done_(std::make_shared<Done>()) {
    GEMEL_ASSERT(easy_ != nullptr && multi_ != nullptr);
    const std::string scheme = tls_.is_wanted() ? "https://" : "http://";
    for (const SocketAddress& member : members) origins_.push_back(scheme + member.to_string());
    const WithoutSignals masked;
    thread_ = std::thread([this] { work(); });
    pthread_setname_np(thread_.native_handle(), "gemel-etcd");
}

EtcdClient::~EtcdClient() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    curl_multi_wakeup(multi_);
    thread_.join();
    *done_ = nullptr;  // of an answer that is on its way to the loop
    curl_multi_cleanup(multi_);
    curl_easy_cleanup(easy_);
}

void EtcdClient::ask(EtcdRequest request, Done done) {
    GEMEL_ASSERT(!*done_ && request.member < origins_.size());
    *done_ = std::move(done);
    {
        const std::lock_guard lock(mutex_);
        request_ = std::move(request);
    }
    curl_multi_wakeup(multi_);
}

bool EtcdClient::is_stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
}

void EtcdClient::work() noexcept {
    for (;;) {
        std::optional<EtcdRequest> request;
        {
            const std::lock_guard lock(mutex_);
            if (stopping_) return;
            request = std::exchange(request_, std::nullopt);
        }
        if (!request) {
            curl_multi_poll(multi_, nullptr, 0, kWaitMs, nullptr);
            continue;
        }
        EtcdReply reply = perform(*request);
        loop_.run_from_any_thread([done = done_, reply = std::move(reply)] {
            if (!*done) return;
            const Done call = std::exchange(*done, nullptr);
            call(reply);
        });
    }
}

// On the thread.
EtcdReply EtcdClient::perform(const EtcdRequest& request) noexcept {
    EtcdReply reply;
    char detail[CURL_ERROR_SIZE] = "";
    const std::string url = origins_[request.member] + request.path;
    curl_easy_reset(easy_);
    curl_easy_setopt(easy_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, tls_.is_wanted() ? "https" : "http");
    curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
    curl_easy_setopt(easy_, CURLOPT_PROXY, "");
    curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy_, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy_, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, to_ms(request.limit));
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size()));
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &append_body);
    curl_easy_setopt(easy_, CURLOPT_WRITEDATA, &reply.body);
    curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, detail);
    if (tls_.is_wanted()) {
        curl_easy_setopt(easy_, CURLOPT_CAINFO, tls_.ca.c_str());
        curl_easy_setopt(easy_, CURLOPT_CAPATH, nullptr);
    }
    if (!tls_.certificate.empty()) {
        curl_easy_setopt(easy_, CURLOPT_SSLCERT, tls_.certificate.c_str());
        curl_easy_setopt(easy_, CURLOPT_SSLKEY, tls_.key.c_str());
    }
    curl_multi_add_handle(multi_, easy_);
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    for (int running = 1; running != 0;) {
        curl_multi_perform(multi_, &running);
        int left = 0;
        if (const CURLMsg* message = curl_multi_info_read(multi_, &left); message != nullptr) {
            code = message->data.result;
        }
        if (running == 0 || is_stopping()) break;
        curl_multi_poll(multi_, nullptr, 0, kWaitMs, nullptr);
    }
    if (code == CURLE_OK) {
        long status = 0;
        curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
        reply.is_answered = true;
        reply.http_status = static_cast<int>(status);
    } else {
        reply.may_have_arrived = !never_left(easy_);
        reply.error = describe_error(easy_, code, detail);
    }
    curl_multi_remove_handle(multi_, easy_);
    return reply;
}

}  // namespace gemel
