// SPDX-License-Identifier: Apache-2.0
#include "controller/status_text.hpp"

#include "controller/duration.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace gemel {
namespace {

constexpr unsigned kBarWidth = 24;
constexpr std::string_view kGap = "  ";

enum class Colour : std::uint8_t { none, good, warning, bad, heading };

std::string_view escape_of(Colour colour) {
    switch (colour) {
        case Colour::none:
            return "";
        case Colour::good:
            return "\x1b[32m";
        case Colour::warning:
            return "\x1b[33m";
        case Colour::bad:
            return "\x1b[31m";
        case Colour::heading:
            return "\x1b[1m";
    }
    return "";
}

struct Cell {
    std::string text;
    Colour colour = Colour::none;
};
using Row = std::vector<Cell>;

// Letters, not bytes: names and reasons may hold UTF-8.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
}

std::string painted(const Cell& cell, bool colour) {
    if (!colour || cell.colour == Colour::none) return cell.text;
    return std::string(escape_of(cell.colour)) + cell.text + "\x1b[0m";
}

// Columns as wide as their widest cell; no blanks at the end of a line.
std::string table(const std::vector<Row>& rows, bool colour) {
    std::vector<std::size_t> widths;
    for (const Row& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], width_of(row[i].text));
        }
    }
    std::string text;
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            text += painted(row[i], colour);
            if (i + 1 == row.size()) break;
            text.append(widths[i] - width_of(row[i].text) + kGap.size(), ' ');
        }
        text += '\n';
    }
    return text;
}

Colour colour_of(MirrorState state) {
    switch (state) {
        case MirrorState::primary:
        case MirrorState::secondary:
            return Colour::good;
        case MirrorState::alone:
        case MirrorState::resync:
            return Colour::warning;
        case MirrorState::wait:
            return Colour::bad;
        case MirrorState::stopped:
            return Colour::none;
    }
    return Colour::none;
}

std::string age(WallTime since, WallTime now) {
    if (since == WallTime{}) return "-";
    return format_age(
        static_cast<std::uint64_t>(std::max<std::int64_t>(now.seconds - since.seconds, 0)));
}

Cell peer_cell(const PeerStatus& peer) {
    const std::string name = printable(peer.node);
    if (!peer.connected) return {name + " not connected", Colour::bad};
    if (!peer.state) return {name, Colour::none};
    return {name + " " + std::string(mirror_state_name(*peer.state)), colour_of(*peer.state)};
}

Cell links_cell(const PeerStatus& peer) {
    const auto up = static_cast<std::size_t>(
        std::count_if(peer.links.begin(), peer.links.end(), [](const auto& l) { return l.up; }));
    const bool all = up == peer.links.size();
    return {std::to_string(up) + "/" + std::to_string(peer.links.size()) + " up",
            all       ? Colour::none
            : up == 0 ? Colour::bad
                      : Colour::warning};
}

std::string joined(const std::vector<std::string>& items) {
    std::string text;
    for (const std::string& item : items) text += (text.empty() ? "" : ", ") + printable(item);
    return text.empty() ? "-" : text;
}

std::string objects(std::uint64_t count) {
    return std::to_string(count) + (count == 1 ? " object" : " objects");
}

struct Dirty {
    std::uint64_t bytes = 0;
    std::uint64_t objects = 0;
};

Dirty dirty_of(const MirrorStatus& mirror) {
    Dirty dirty;
    for (const VolumeStatus& volume : mirror.volumes) {
        dirty.bytes += volume.dirty_bytes;
        dirty.objects += volume.dirty_objects;
    }
    return dirty;
}

Cell dirty_cell(const MirrorStatus& mirror) {
    const Dirty dirty = dirty_of(mirror);
    if (dirty.bytes == 0 && dirty.objects == 0) return {"-", Colour::none};
    return {format_size(dirty.bytes) + " in " + objects(dirty.objects), Colour::warning};
}

Cell application_cell(const ApplicationStatus& application) {
    if (application.state == "none") return {"-", Colour::none};
    return {printable(application.state),
            application.state == "failed" ? Colour::bad : Colour::none};
}

Row row_of(const MirrorStatus& mirror, WallTime now) {
    return {{printable(mirror.name), Colour::none},
            {std::string(mirror_state_name(mirror.state)), colour_of(mirror.state)},
            {age(mirror.since, now), Colour::none},
            peer_cell(mirror.peer),
            links_cell(mirror.peer),
            {joined(mirror.in_sync), Colour::none},
            dirty_cell(mirror),
            application_cell(mirror.application)};
}

struct Progress {
    std::uint64_t done_bytes = 0, total_bytes = 0, rate_bytes_per_s = 0;
    std::optional<std::uint64_t> eta_s;
    bool paused = false;
};

std::string progress(const Progress& now) {
    const std::uint64_t percent =
        now.total_bytes == 0
            ? 0
            : std::min<std::uint64_t>(
                  static_cast<std::uint64_t>(static_cast<double>(now.done_bytes) * 100 /
                                             static_cast<double>(now.total_bytes)),
                  100);
    std::string number = std::to_string(percent);
    number.insert(0, 3 - number.size(), ' ');
    std::string text = progress_bar(now.done_bytes, now.total_bytes, kBarWidth) + " " + number +
                       " %  " + format_size(now.done_bytes) + " of " +
                       format_size(now.total_bytes) + ", ";
    if (now.paused) return text + "paused";
    text += format_size(now.rate_bytes_per_s) + "/s";
    if (now.eta_s) text += ", " + format_age(*now.eta_s) + " left";
    return text;
}

std::string resync_line(const MirrorStatus& mirror, const VolumeStatus& volume) {
    const ResyncStatus& resync = *volume.resync;
    return printable(mirror.name) + ": resync " + printable(volume.path) + " " +
           progress({resync.done_bytes, resync.total_bytes, resync.rate_bytes_per_s, resync.eta_s,
                     mirror.resync_pace.paused}) +
           "\n";
}

std::string verify_summary(const VerifyResult& result) {
    const std::string figures =
        objects(result.objects) + " and " + format_size(result.bytes) + " compared";
    const std::string found = objects(result.differing) + " not the same";
    switch (result.outcome) {
        case VerifyOutcome::equal:
            return "the copies are equal, " + figures;
        case VerifyOutcome::differences:
            return found + ", " + figures;
        case VerifyOutcome::mended:
            return found + ", all mended; " + figures;
        case VerifyOutcome::stopped:
        case VerifyOutcome::failed:
            break;
    }
    return "not completed: " + result.why + "; " + figures + ", " + found;
}

std::string ranges_text(const VerifyFinding::Ranges& ranges) {
    constexpr std::size_t kShownMax = 8;
    std::string text;
    for (std::size_t i = 0; i < std::min(ranges.size(), kShownMax); ++i) {
        text += (text.empty() ? "" : ", ") + std::to_string(ranges[i].first) + ".." +
                std::to_string(ranges[i].second);
    }
    if (ranges.size() > kShownMax) {
        text += " and " + std::to_string(ranges.size() - kShownMax) + " more";
    }
    return text;
}

std::string finding_line(const VerifyFinding& finding, const std::string& node,
                         const std::string& peer) {
    std::string what;
    const auto add = [&](const std::string& text) { what += (what.empty() ? "" : "; ") + text; };
    for (const VerifyFinding::Detail& detail : finding.details) {
        if (detail.what == "missing") {
            add("missing on " + peer);
        } else if (detail.what == "superfluous") {
            add("only on " + peer);
        } else {
            add(printable(detail.what) + ": " + printable(detail.here) + " on " + node + ", " +
                printable(detail.there) + " on " + peer);
        }
    }
    if (!finding.content.empty()) add("content at " + ranges_text(finding.content));
    if (!finding.holes.empty()) add("holes at " + ranges_text(finding.holes));
    return printable(finding.path) + ": " + what + "\n";
}

std::string verify_lines(const MirrorStatus& mirror, WallTime now) {
    const VerifyStatus& verify = mirror.verify;
    const std::string name = printable(mirror.name);
    std::string text;
    if (verify.running) text += name + ": verify " + verify_progress(*verify.running) + "\n";
    if (verify.last) {
        text += name + ": last verify " + age(verify.last->ended, now) +
                " ago: " + printable(verify_summary(*verify.last)) + "\n";
    }
    return text;
}

std::string before_resync_line(const MirrorStatus& mirror) {
    if (!mirror.before_resync) return {};
    const std::string name = printable(mirror.name);
    const std::string& why_not = mirror.before_resync->why_not;
    if (mirror.before_resync->kept) {
        return name + ": the state before the resync is kept; where " +
               printable(mirror.peer.node) + " is lost before the end: gemel promote " + name +
               " --force --before-resync\n";
    }
    if (why_not.empty()) return {};
    return name + ": the state before the resync is not kept: " + printable(why_not) + "\n";
}

std::string notes_of(const MirrorStatus& mirror, WallTime now) {
    std::string text;
    const std::string name = printable(mirror.name);
    if (!mirror.reason.empty()) {
        text += name + ": " + std::string(mirror_state_name(mirror.state)) + ": " +
                printable(mirror.reason) + "\n";
    }
    for (const VolumeStatus& volume : mirror.volumes) {
        if (volume.resync) text += resync_line(mirror, volume);
    }
    if (mirror.resync_pace.paused) {
        text += name + ": resync is paused: 'gemel resync " + name + " --resume' lets it go on\n";
    }
    text += verify_lines(mirror, now);
    text += before_resync_line(mirror);
    if (!mirror.peer.trouble.empty()) {
        text += name + ": no session with " + printable(mirror.peer.node) + ": " +
                printable(mirror.peer.trouble) + "\n";
    }
    for (const LinkStatus& link : mirror.peer.links) {
        if (!link.up) text += name + ": link " + printable(link.address) + " is down\n";
    }
    std::string held;
    for (const VirtualIpStatus& ip : mirror.virtual_ip) {
        if (ip.held) held += (held.empty() ? "" : ", ") + printable(ip.address);
    }
    if (!held.empty()) text += name + ": holds " + held + "\n";
    if (!mirror.exclude.empty()) {
        text += name + ": kept per node, not mirrored: " + joined(mirror.exclude) + "\n";
    }
    if (!mirror.tracking.empty()) {
        text += name + ": changes made without the mirror: " + printable(mirror.tracking) + "\n";
    }
    return text;
}

}  // namespace

std::string printable(std::string_view text) {
    std::string result(text);
    std::replace_if(
        result.begin(), result.end(),
        [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, '?');
    return result;
}

std::string progress_bar(std::uint64_t done, std::uint64_t total, unsigned width) {
    unsigned filled = 0;
    if (total != 0 && done >= total) {
        filled = width;
    } else if (total != 0) {
        filled =
            static_cast<unsigned>(static_cast<double>(done) / static_cast<double>(total) * width);
        filled = std::min(filled, width - 1);
    }
    return "[" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
}

std::string status_text(const NodeStatus& status, const StatusTextOptions& options) {
    std::string text = "cluster " + printable(status.cluster) + ", node " + printable(status.node) +
                       ", gemeld " + printable(status.version) + "\n";
    if (status.mirrors.empty()) return text + "no mirrors on this node\n";
    std::vector<Row> rows{Row{}};
    for (const char* heading :
         {"MIRROR", "STATE", "SINCE", "PEER", "LINKS", "IN SYNC", "PEER LACKS", "APPLICATION"}) {
        rows[0].push_back({heading, Colour::heading});
    }
    for (const MirrorStatus& mirror : status.mirrors) rows.push_back(row_of(mirror, options.now));
    text += "\n" + table(rows, options.colour);
    std::string notes;
    for (const MirrorStatus& mirror : status.mirrors) notes += notes_of(mirror, options.now);
    return notes.empty() ? text : text + "\n" + notes;
}

std::string verify_progress(const VerifyRunning& running) {
    std::string text = running.mends ? std::string("is through, what differs is being mended")
                                     : progress({running.done_bytes, running.total_bytes,
                                                 running.rate_bytes_per_s, running.eta_s});
    text += ", " + objects(running.objects);
    if (running.differing != 0) text += ", " + std::to_string(running.differing) + " not the same";
    return text;
}

std::string verify_text(const VerifyResult& result, const std::vector<VerifyFinding>& findings,
                        const std::string& node, const std::string& peer) {
    std::string text;
    for (const VerifyFinding& finding : findings) text += finding_line(finding, node, peer);
    if (result.differing > findings.size()) {
        text += "and " + objects(result.differing - findings.size()) + " more\n";
    }
    return text + printable(verify_summary(result)) + "\n";
}

std::string promote_warning(const std::string& node, const MirrorStatus& mirror) {
    const bool in_sync =
        std::find(mirror.in_sync.begin(), mirror.in_sync.end(), node) != mirror.in_sync.end();
    const std::string& peer = mirror.peer.node;
    std::string text = "promoting '" + mirror.name + "' makes " + node +
                       " go on alone without the arbiter's consent.\n";
    if (in_sync) {
        text += node + " is recorded as in sync: it has every write that was acknowledged until " +
                "it lost " + peer + ". If " + peer +
                " went on alone since then, its writes are not here.\n";
    } else {
        text += node + " is not recorded as in sync: writes that " + peer +
                " acknowledged are missing here, and what is here may be incomplete.\n";
    }
    text += "If " + peer +
            " serves, or served since, both copies go apart, and one of them has to " +
            "be given up later.\n" + "Make sure that " + peer + " is off. Then: gemel promote " +
            mirror.name + " --force";
    if (mirror.before_resync && mirror.before_resync->kept) {
        text +=
            "\nor, with the last consistent state, that before the interrupted resync: gemel "
            "promote " +
            mirror.name + " --force --before-resync";
    }
    return text;
}

}  // namespace gemel
