-- wrk's requests: each is the next node's, and each reading has a new time.
-- Each thread has its own nodes, so that a sensor's times only increase.
-- Arguments: a shape (see shape.py), the nodes (name, tab, token; shuffled), wrk's threads.
require "counted"

local function fill(template, name, text)
  return (template:gsub("@" .. name .. "@", text))
end

-- The body of one pass through the thread's nodes.
local function body_of(pass)
  local points = {}
  for i = 1, shape.count do
    local place = math.floor((pass * shape.count + i - 1) / shape.sensors) + 1
    local point = fill(shape.point, "time",
      string.format("%d", shape.start_ms + place * shape.step_ms))
    point = fill(point, "value", string.format("%.2f", 15 + (pass * 31 + i * 7) % 1000 / 100))
    points[i] = fill(point, "sensor", "temperature" .. (i - 1) % shape.sensors + 1)
  end
  return shape.first .. table.concat(points, shape.between) .. shape.last
end

local function begin(pass)
  body = body_of(pass)
  named = body:find("@node@", 1, true) ~= nil
  local length = #fill(body, "node", names[1])
  tail = "Content-Length: " .. length .. "\r\n\r\n"
end

function init(args)
  shape, names, heads = dofile(args[1]), {}, {}
  local threads, line_number = tonumber(args[3]), 0
  for line in io.lines(args[2]) do
    if line_number % threads == thread then
      local name, token = line:match("(.-)\t(.*)")
      names[#names + 1] = name
      heads[#heads + 1] = fill(shape.head, "token", token)
    end
    line_number = line_number + 1
  end
  made = 0
end

function request()
  local turn = made % #names
  if turn == 0 then begin(made / #names) end
  made = made + 1
  local content = body
  if named then content = fill(body, "node", names[turn + 1]) end
  return heads[turn + 1] .. tail .. content
end
