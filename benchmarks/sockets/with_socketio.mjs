// socket.io for Node: its own broadcast.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const server = new Server(http, { serveClient: false });
server.on("connection", (socket) => socket.on("shout", (text) => server.emit("said", text)));
http.listen(0, "127.0.0.1", 1024, () => console.log(http.address().port));
