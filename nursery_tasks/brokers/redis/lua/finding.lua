-- Where jobs stand, and how they are read.

-- The key of the page on which a job stands, what the names of its fields there end with, and the page.
local function page_of(n)
    local page = cut(n, 1, 13)
    local key = page_keys[page]
    if not key then
        key = P .. 'jobs:' .. page
        page_keys[page] = key
    end
    return key, cut(n, 14), page
end

-- A description: the id, and the rest as a table that jobs share.
local function read_about(raw)
    local kind, from, to = byte(raw, 2), 3, nil
    if kind == 217 then -- 32 to 255 bytes
        from = 4
        to = 3 + byte(raw, 3)
    elseif kind < 192 then -- up to 31
        to = 2 + kind - 160
    else
        from = 5
        to = 4 + 256 * byte(raw, 3) + byte(raw, 4)
    end
    local rest = cut(raw, to + 1)
    local about = abouts[rest]
    if not about then
        about = decode(raw)
        about[ID] = nil
        abouts[rest] = about
    end
    return cut(raw, from, to), about
end

-- Move a job that layout 1 has stored to where it is now; return whether there was one.
local function adopt(n)
    local old = call('HMGET', P .. 'j:' .. n, 's', 'm', 'p', 'o', 'g')
    call('ZREM', P .. 'all', n)
    if not old[1] then
        return false
    end
    local key, tail, page = page_of(n)
    local s = decode(old[1])
    if s[TOKEN] then
        s[TOKEN] = cut(s[TOKEN], 1, 16)
    end
    call('HSET', key, 's' .. tail, encode(s), 'm' .. tail, old[2], 'p' .. tail, old[3])
    for place, letter in pairs({ [4] = 'o', [5] = 'g' }) do
        if old[place] then
            call('HSET', key, letter .. tail, old[place])
        end
    end
    call('ZADD', P .. 'pages', tonumber(page), page)
    call('UNLINK', P .. 'j:' .. n)
    return true
end

-- Look for jobs of these numbers, all at once; `load` knows them from then on.
local function fetch(numbers)
    local wanted = {}
    for _, n in ipairs(numbers) do
        if jobs[n] == nil then
            jobs[n] = false
            local key, tail = page_of(n)
            local fields = wanted[key]
            if not fields then
                fields = { numbers = {} }
                wanted[key] = fields
            end
            fields.numbers[#fields.numbers + 1] = n
            fields[#fields + 1] = 's' .. tail
            fields[#fields + 1] = 'm' .. tail
        end
    end
    for key, fields in pairs(wanted) do
        local found = call('HMGET', key, unpack(fields))
        for i, n in ipairs(fields.numbers) do
            local packed, raw = found[2 * i - 1], found[2 * i]
            if not packed and adopt(n) then
                packed, raw = unpack(call('HMGET', key, fields[2 * i - 1], fields[2 * i]))
            end
            if packed then
                jobs[n] = { n = n, packed = packed, raw = raw }
            end
        end
    end
end

local function load(n)
    if jobs[n] == nil then
        fetch({ n })
    end
    local job = jobs[n]
    if job and not job.s then
        job.s = decode(job.packed)
    end
    return job
end

-- Some fields of a job, by their letters.
local function read(n, ...)
    local key, tail = page_of(n)
    local names = {}
    for i, letter in ipairs({ ... }) do
        names[i] = letter .. tail
    end
    return call('HMGET', key, unpack(names))
end

-- Fields of many jobs, in one list; nothing is false. The first letter is that of a field that each job has.
local function read_all(numbers, ...)
    local letters, found, names = { ... }, {}, {}
    for i, n in ipairs(numbers) do
        local key, tail = page_of(n)
        for _, letter in ipairs(letters) do
            names[#names + 1] = letter .. tail
        end
        if i == #numbers or page_of(numbers[i + 1]) ~= key then -- those of one page mostly follow each other
            for _, value in ipairs(call('HMGET', key, unpack(names))) do
                found[#found + 1] = value
            end
            names = {}
        end
    end
    for i, n in ipairs(numbers) do
        local before = #letters * (i - 1)
        if not found[before + 1] and adopt(n) then
            for place, value in ipairs(read(n, ...)) do
                found[before + place] = value
            end
        end
    end
    return found
end

-- The jobs of numbers that stand in an index. Of one that is not there any more, somebody has deleted the key by hand: its
-- number is taken out, because what stays there would stop everything behind it.
local function loaded(key, numbers)
    local there = {}
    fetch(numbers)
    for _, n in ipairs(numbers) do
        local job = load(n)
        if job then
            there[#there + 1] = job
        else
            call('ZREM', key, n)
        end
    end
    return there
end

local function meta(job)
    if not job.m then
        job.id, job.m = read_about(job.raw)
    end
    return job.m
end

local function id_of(job)
    if not job.id then
        meta(job)
    end
    return job.id
end

-- The token of the worker that holds a job: the random bytes of its claim, and the job's number.
local function token_of(job)
    local random = job.s[TOKEN]
    return random and random .. job.n
end
