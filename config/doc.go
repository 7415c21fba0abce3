// Package config is the configuration of a node: a file, the environment, and
// flags, in ascending order of weight.
//
// The file is JSON, or YAML of the same shape (by its extension: .yaml, .yml):
//
//	{ "Cluster": { "NodeId": "node1",
//	    "Nodes": [
//	      { "Id": "node1", "Address": "10.0.1.10", "ApiPort": 5000, "RaftPort": 5001 },
//	      { "Id": "node2", "Address": "10.0.1.11", "ApiPort": 5000, "RaftPort": 5001 },
//	      { "Id": "node3", "Address": "10.0.1.12", "ApiPort": 5000, "RaftPort": 5001 } ] },
//	  "Api": { "DrainDelay": "15s",
//	    "Tls": { "CertFile": "/etc/confman/tls.crt", "KeyFile": "/etc/confman/tls.key" },
//	    "Cors": { "Origins": [ "https://ui.example.com" ] } },
//	  "Raft": { "Tls": { "CaFile": "/etc/confman/raft-ca.crt",
//	    "CertFile": "/etc/confman/node1.crt", "KeyFile": "/etc/confman/node1.key" } },
//	  "Data": { "Dir": "/var/lib/confman", "StoreQuotaBytes": 8589934592, "MinFreeBytes": 268435456 },
//	  "Limits": { "RequestsPerSecond": 2000, "WritesPerSecond": 200, "MemoryBytes": 1073741824 },
//	  "Backup": { "Dir": "/mnt/backup/confman", "Every": "1h", "Keep": 24 },
//	  "History": { "KeepFor": "2160h", "KeepVersions": 1000 },
//	  "Clock": { "MaxDriftPPM": 500 },
//	  "Log": { "Level": "info", "Format": "text" },
//	  "Auth": { "Mode": "oidc", "Bootstrap": "user:entra/<tenant id>/<object id>",
//	    "MaxPolicyStaleness": "5s",
//	    "Issuers": [ { "Name": "entra", "EntraTenants": [ "<tenant id>" ],
//	      "Audiences": [ "<client id>", "api://<client id>" ],
//	      "Scopes": { "Config.Read": [ "read" ], "Config.ReadWrite": [ "read", "write" ],
//	        "Config.Admin": [ "read", "write", "rollback", "delete-tree", "retention", "bind", "cluster", "audit" ] } } ],
//	    "Certificates": { "CaFile": "/etc/confman/clients-ca.crt",
//	      "Rules": [ { "CommonName": "deploy", "Name": "deploy" } ] } } }
//
// A variable CONFMAN_Cluster__NodeId sets Cluster.NodeId: two underscores go one
// level down. CONFMAN_Cluster__Nodes takes the list as JSON. A variable without
// two underscores, such as CONFMAN_ENDPOINTS of the client commands, is no
// setting. Names are case-sensitive; what is not known is an error.
package config
