// SPDX-License-Identifier: Apache-2.0
#include "controller/control_client.hpp"

#include "controller/control_socket.hpp"
#include "engine/base/assert.hpp"

#include <curl/curl.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace gemel {
namespace {

// A daemon of ours never sends as much; whoever else sits there shall not fill our memory.
constexpr std::size_t kBodySizeMax = 64 << 20;

std::size_t append_body(char* data, std::size_t, std::size_t size, void* body) {
    auto* text = static_cast<std::string*>(body);
    if (text->size() + size > kBodySizeMax) return 0;
    text->append(data, size);
    return size;
}

std::string error_in(const std::string& body, unsigned http_status) {
    const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
    if (json.is_object() && json.contains("error") && json["error"].is_string()) {
        return json["error"].get<std::string>();
    }
    return "gemeld answered with status " + std::to_string(http_status);
}

ControlAnswer unreachable(const std::string& path, int error) {
    ControlAnswer answer;
    const bool nobody =
        error == ENOENT || error == ECONNREFUSED || error == ENOTDIR || error == ENAMETOOLONG;
    answer.outcome = nobody ? ControlAnswer::Outcome::no_daemon : ControlAnswer::Outcome::failed;
    answer.sentence = nobody ? "no gemeld answers at '" + path + "' (" + std::strerror(error) + ")"
                             : "cannot reach '" + path + "': " + std::strerror(error);
    return answer;
}

}  // namespace

ControlClient::ControlClient(const std::string& run_directory)
    : socket_path_(run_directory + "/control.sock"), curl_(curl_easy_init()) {
    GEMEL_ASSERT(curl_ != nullptr);
}

ControlClient::~ControlClient() { curl_easy_cleanup(curl_); }

ControlAnswer ControlClient::get(const std::string& path, Duration limit) {
    return ask(path, nullptr, limit);
}

ControlAnswer ControlClient::post(const std::string& path, const std::string& body,
                                  Duration limit) {
    return ask(path, &body, limit);
}

ControlAnswer ControlClient::ask(const std::string& path, const std::string* body, Duration limit) {
    // curl does not say which of the many errors of connect() it met.
    if (const int error = probe_control_socket(socket_path_); error != 0) {
        return unreachable(socket_path_, error);
    }
    ControlAnswer answer;
    const std::string url = "http://gemel" + path;
    curl_easy_reset(curl_);
    curl_easy_setopt(curl_, CURLOPT_UNIX_SOCKET_PATH, socket_path_.c_str());
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl_, CURLOPT_PROXY, "");
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &append_body);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answer.body);
    if (limit > Duration{}) {
        const long ms = static_cast<long>(std::max<std::int64_t>(limit.ns / 1'000'000, 1));
        curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, ms);
    }
    if (body != nullptr) {
        curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE, static_cast<long>(body->size()));
        curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body->c_str());
    }
    const CURLcode code = curl_easy_perform(curl_);
    if (code == CURLE_COULDNT_CONNECT) return unreachable(socket_path_, ECONNREFUSED);
    if (code != CURLE_OK) {
        answer.outcome = code == CURLE_OPERATION_TIMEDOUT ? ControlAnswer::Outcome::timed_out
                                                          : ControlAnswer::Outcome::failed;
        answer.sentence = code == CURLE_OPERATION_TIMEDOUT
                              ? "gemeld did not answer in time"
                              : std::string("gemeld broke off: ") + curl_easy_strerror(code);
        return answer;
    }
    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    answer.outcome = ControlAnswer::Outcome::answered;
    answer.http_status = static_cast<unsigned>(status);
    if (answer.http_status != 200) answer.sentence = error_in(answer.body, answer.http_status);
    return answer;
}

std::string ControlClient::escape(std::string_view part) {
    constexpr std::string_view kPlain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string text;
    for (const char c : part) {
        if (kPlain.find(c) != std::string_view::npos || (c == '.' && part.size() > 2)) {
            text += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        text += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
    return text;
}

}  // namespace gemel
