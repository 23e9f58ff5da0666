// SPDX-License-Identifier: Apache-2.0
// What a node and etcd say to each other through etcd's HTTP gateway (JSON; keys and values in
// base64, 64-bit numbers as texts), and what is kept there: one key a mirror, its value a small
// JSON object whose first part is for people (`etcdctl get`) and whose second one counts.
//
// A value names the etcd cluster it was written in and counts in that one only: a cluster made of
// another one's backup has an id of its own, while the old one may still be asked by somebody.
#pragma once

#include "controller/register_value.hpp"
#include "engine/base/status.hpp"

#include <string>
#include <string_view>

namespace gemel {

inline constexpr std::string_view kEtcdRangePath = "/v3/kv/range";
inline constexpr std::string_view kEtcdTxnPath = "/v3/kv/txn";

// "/gemel/shop/db".
[[nodiscard]] std::string etcd_key(std::string_view cluster, std::string_view mirror);

// What etcd holds under a key.
struct EtcdEntry {
    std::string etcd;  // id of the cluster that says so, a decimal number
    bool is_there = false;
    std::string document;  // the value as it is there, whatever that is
};
struct EtcdRegister {
    RegisterValue value;
    std::string etcd;  // id of the cluster it was written in
};

// Requires: value.epoch > 0.
[[nodiscard]] std::string etcd_document(const RegisterValue& value, std::string_view etcd);
// corrupt: not something that is encoded above; foreign: of a format that is not known.
[[nodiscard]] Result<EtcdRegister> parse_etcd_document(std::string_view document);

// A linearizable read of one key.
[[nodiscard]] std::string etcd_range_body(std::string_view key);
// Puts `document` if the key still holds `seen` (nothing, or these very bytes), else reads it. A
// register's value never comes back (register_value.hpp), nor do its bytes: once the comparison has
// failed, the same request can't be carried out later either.
[[nodiscard]] std::string etcd_txn_body(std::string_view key, const EtcdEntry& seen,
                                        std::string_view document);
// corrupt: not an answer to the request above.
[[nodiscard]] Result<EtcdEntry> parse_etcd_range(std::string_view body);
struct EtcdTxnAnswer {
    bool succeeded = false;
    EtcdEntry entry;  // when not; else only its `etcd`
};
[[nodiscard]] Result<EtcdTxnAnswer> parse_etcd_txn(std::string_view body);
// The sentence in the answer to a request that failed, or the status.
[[nodiscard]] std::string etcd_error(std::string_view body, int http_status);

}  // namespace gemel
