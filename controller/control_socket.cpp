// SPDX-License-Identifier: Apache-2.0
#include "controller/control_socket.hpp"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace gemel {
namespace {

constexpr int kBacklog = 64;

bool make_address(const std::string& path, sockaddr_un& address) {
    address = {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return true;
}

Status failure(const std::string& what, const std::string& path, int error, std::string& sentence) {
    sentence = what + " '" + path + "': " + std::strerror(error);
    return Status::from_errno(error);
}

// What stands at the path may be removed: nothing, or a socket that nobody answers at.
Status check_free(const std::string& path, std::string& sentence) {
    struct stat info {};
    if (lstat(path.c_str(), &info) != 0) {
        return errno == ENOENT ? Status{} : failure("cannot look at", path, errno, sentence);
    }
    if (!S_ISSOCK(info.st_mode)) {
        sentence = "'" + path + "' is in the way: it is no socket";
        return Status(Code::refused);
    }
    if (probe_control_socket(path) == 0) {
        sentence = "another gemeld answers at '" + path + "'; --run names another directory";
        return Status(Code::refused);
    }
    return {};
}

}  // namespace

int probe_control_socket(const std::string& path) {
    sockaddr_un address{};
    if (!make_address(path, address)) return ENAMETOOLONG;
    const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) return errno;
    const int result = connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int error = result == 0 ? 0 : errno;
    close(probe);
    // A full backlog: somebody is there, and busy.
    return error == EAGAIN ? 0 : error;
}

Result<int> listen_on_control_socket(const std::string& run_directory, const std::string& path,
                                     std::string& sentence) {
    sockaddr_un address{};
    if (!make_address(path, address)) {
        sentence = "'" + path + "' is too long for a socket: at most " +
                   std::to_string(sizeof address.sun_path - 1) + " bytes";
        return Status(Code::too_large);
    }
    if (mkdir(run_directory.c_str(), 0755) != 0 && errno != EEXIST) {
        return failure("cannot make the run directory", run_directory, errno, sentence);
    }
    if (const Status status = check_free(path, sentence); !status.ok()) return status;
    unlink_control_socket(path);
    const int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listening < 0) return failure("cannot make a socket for", path, errno, sentence);
    // Before it has a name: Linux gives the file the socket's mode, so it is never open to others.
    if (fchmod(listening, 0600) != 0 ||
        bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        chmod(path.c_str(), 0600) != 0 || listen(listening, kBacklog) != 0) {
        const int error = errno;
        close(listening);
        return failure("cannot listen on", path, error, sentence);
    }
    return listening;
}

void unlink_control_socket(const std::string& path) { unlink(path.c_str()); }

void close_control_socket(int listening, const std::string& path) {
    close(listening);
    unlink_control_socket(path);
}

}  // namespace gemel
