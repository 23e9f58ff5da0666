// SPDX-License-Identifier: Apache-2.0
// gemel verify: starts the comparison, shows how far it is, and what it has found. Ctrl-C ends it
// in the daemon, too.
#include "controller/control_client.hpp"
#include "controller/duration.hpp"
#include "controller/status_json.hpp"
#include "controller/status_text.hpp"
#include "tools/gemel/commands.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>

namespace gemel {
namespace {

constexpr Duration kPatience = Duration::seconds(30);
constexpr std::chrono::milliseconds kFirstLooks{50};
constexpr std::chrono::milliseconds kLaterLooks{500};

volatile std::sig_atomic_t is_interrupted = 0;

void interrupt(int) { is_interrupted = 1; }

std::optional<std::string> body_of(const VerifyCommandOptions& options) {
    if (options.stop) return R"({"stop":true})";
    nlohmann::json body = nlohmann::json::object();
    if (options.repair) body["repair"] = true;
    if (options.rate == "max") {
        body["rate"] = 0;
    } else if (!options.rate.empty()) {
        const std::optional<std::uint64_t> rate = parse_size(options.rate);
        if (!rate || *rate == 0) {
            complain("'" + options.rate + "' is no rate like \"20MiB\" (a second), nor \"max\"");
            return std::nullopt;
        }
        body["rate"] = *rate;
    }
    return body.dump();
}

// Until the run has ended; none: `answer` says why not.
std::optional<VerifyFindings> follow(ControlClient& client, const std::string& path,
                                     std::uint64_t run, ControlAnswer& answer) {
    const bool shows = isatty(STDERR_FILENO) == 1;
    bool has_stopped = false;
    for (unsigned looks = 0;; ++looks) {
        if (is_interrupted != 0 && !has_stopped) {
            has_stopped = true;
            // What is being mended is not stopped; then there is nothing to wait for here.
            if (!client.post(path, R"({"stop":true})", kPatience).is_done()) is_interrupted = 2;
        }
        answer = client.get(path, kPatience);
        if (!answer.is_done()) return std::nullopt;
        std::optional<VerifyFindings> now = parse_verify_report(answer.body);
        if (!now) return std::nullopt;
        if (shows) std::fputs("\r\x1b[K", stderr);
        if (!now->status.running || now->status.run != run || is_interrupted == 2) return now;
        if (shows) std::fputs(verify_progress(*now->status.running).c_str(), stderr);
        std::this_thread::sleep_for(looks < 40 ? kFirstLooks : kLaterLooks);
    }
}

int show_end(const VerifyFindings& found, std::uint64_t run, const std::string& body,
             const VerifyCommandOptions& options, const std::string& peer,
             const std::string& node) {
    if (found.status.run != run) {
        complain("gemeld was restarted before the verify had ended");
        return kExitFailed;
    }
    if (found.status.running || !found.status.last) {
        complain("what differs is still being mended; 'gemel status' shows it");
        return kExitFailed;
    }
    const VerifyResult& result = *found.status.last;
    const std::string text = options.json ? body : verify_text(result, found.findings, node, peer);
    std::fputs(text.c_str(), stdout);
    if (result.outcome == VerifyOutcome::equal) return kExitDone;
    const bool is_cut_short =
        result.outcome == VerifyOutcome::failed || result.outcome == VerifyOutcome::stopped;
    if (is_cut_short) complain("the verify did not complete: " + printable(result.why));
    return kExitFailed;
}

}  // namespace

int verify_mirror(const std::string& run, const VerifyCommandOptions& options) {
    const std::optional<std::string> body = body_of(options);
    if (!body) return kExitUsage;
    ControlClient client(run);
    // Whose copy is whose, for the texts.
    const ControlAnswer known =
        client.get("/v1/status/" + ControlClient::escape(options.mirror), kPatience);
    if (!known.is_done()) return fail(known);
    const std::optional<NodeStatus> status = parse_node_status(known.body);
    if (!status || status->mirrors.size() != 1) return fail_unintelligible();
    const std::string path = "/v1/mirrors/" + ControlClient::escape(options.mirror) + "/verify";
    std::signal(SIGINT, interrupt);
    std::signal(SIGTERM, interrupt);
    const ControlAnswer begun = client.post(path, *body, kPatience);
    if (!begun.is_done()) return fail(begun);
    if (options.stop) return kExitDone;
    const nlohmann::json answer = nlohmann::json::parse(begun.body, nullptr, false);
    if (!answer.is_object() || !answer.contains("run")) return fail_unintelligible();
    const auto number = answer["run"].get<std::uint64_t>();
    ControlAnswer last;
    const std::optional<VerifyFindings> found = follow(client, path, number, last);
    if (!found) return last.is_done() ? fail_unintelligible() : fail(last);
    return show_end(*found, number, last.body, options, status->mirrors[0].peer.node, status->node);
}

}  // namespace gemel
