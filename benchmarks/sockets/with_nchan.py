"""nginx with the nchan module, of which the folder is named that Debian's packages were unpacked in."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = """
load_module {place}/usr/lib/nginx/modules/ngx_nchan_module.so;
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors crit; worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
    access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = /subscribe {{ nchan_subscriber websocket; nchan_channel_id hall; nchan_message_buffer_length 1000;
                                 nchan_subscriber_first_message newest; }}
        location = /publish {{ nchan_publisher websocket; nchan_channel_id hall; }}
    }}
}}
"""


def main(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "settings"
        settings.write_text(SETTINGS.format(place=place, folder=folder, port=port, files=os.sysconf("SC_OPEN_MAX")))
        with subprocess.Popen([place / "usr/sbin/nginx", "-c", settings, "-e", "stderr", "-p", folder]) as nginx:
            workers = ""
            while nginx.poll() is None and not workers:
                time.sleep(0.05)
                workers = Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text().strip()
            print(port, nginx.pid, workers, flush=True)
            nginx.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
