// The tus server that uploads are compared with: node server.mjs <folder> <port>
import { createServer } from 'node:http'
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const [folder, port] = process.argv.slice(2)
const tus = new Server({ path: '/files', datastore: new FileStore({ directory: folder }) })
createServer((request, response) => {
  if (request.url === '/healthz') response.end('ok')
  else tus.handle(request, response)
}).listen(Number(port), '127.0.0.1')
